"""The LSTM under autocast: what is of lower precision, what is not, and that float32 alone is as it ever was."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from models import fused_lstm
from models.autoencoder import frame_loss
from models.encoder import WrappedEncoder
from models.lstm import LSTMState, PeepholeLSTM, StackedLSTM


class Operations(TorchDispatchMode):
    """Notes the dtypes that go into and come out of every operation."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            into = [each.dtype for each in args if isinstance(each, torch.Tensor)]
            self.seen.append((func.overloadpacket.__name__, into, out.dtype))
        return out

    def dtypes(self, name):
        return {dtype for op, into, out in self.seen if op == name for dtype in (*into, out)}


def filled(layer):
    """Give the layer parameters that are nowhere zero."""
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -0.3, 0.3)
    return layer


def bfloat16():
    return torch.autocast("cpu", torch.bfloat16)


@pytest.fixture
def _plain():
    """Operations one by one, so that they can be noted; what test_fused_lstm.py compares the others with."""
    with fused_lstm.use("plain"):
        yield


@pytest.mark.usefixtures("_plain")
def test_the_products_are_bfloat16_and_what_happens_in_the_cell_is_float32():
    layer = filled(PeepholeLSTM(6, 5))
    state = LSTMState(torch.randn(3, 5), torch.randn(3, 5))
    with Operations() as noted, torch.no_grad(), bfloat16():
        h_TBH, last = layer(torch.randn(4, 3, 6), state)
    assert noted.dtypes("addmm") == {torch.bfloat16}
    for name in ("sigmoid", "tanh", "mul", "add"):  # gates, peepholes, the cell's own sum
        assert noted.dtypes(name) == {torch.float32}, name
    assert {each.dtype for each in (h_TBH, *last)} == {torch.float32}


@pytest.mark.usefixtures("_plain")
def test_the_recurrent_weights_are_turned_once_for_all_steps():
    layer = filled(PeepholeLSTM(6, 5))
    with Operations() as noted, bfloat16():
        layer(torch.randn(9, 3, 6), LSTMState(torch.zeros(3, 5), torch.zeros(3, 5)))
    turned = [op for op, into, out in noted.seen if op == "_to_copy" and out == torch.bfloat16]
    # Frames and both weights; and h, which is another at each of 9 steps.
    assert len(turned) == 3 + 9


def test_a_small_change_of_a_large_cell_is_kept():
    """A cell of 256 that gains 1/2 a step, where bfloat16 tells no numbers less than 2 apart."""
    layer = PeepholeLSTM(None, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        # Gates i and f wide open, a candidate of tanh(atanh(1/2)) = 1/2.
        layer.bias.copy_(torch.tensor([30.0, 30.0, 0.5493, 0.0]))
        with bfloat16():
            _, last = layer(None, LSTMState(torch.zeros(1, 1), torch.full((1, 1), 256.0)), steps=8)
    assert last.c_BH.item() == pytest.approx(260, abs=0.05)


@pytest.mark.usefixtures("_plain")
def test_a_cell_that_starts_in_bfloat16_goes_on_in_float32():
    layer = filled(PeepholeLSTM(None, 4))
    h_BH, c_BH = torch.randn(2, 3, 4).bfloat16()
    with Operations() as noted, torch.no_grad(), bfloat16():
        layer(None, LSTMState(h_BH, c_BH), steps=2)
    assert noted.dtypes("mul") == noted.dtypes("tanh") == {torch.float32}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(6, 7)

    def forward(self, frames_TBD):
        return self.rnn(frames_TBD)[0]


def test_an_encoder_of_ones_own_can_be_trained_in_bfloat16():
    encoder = WrappedEncoder(Recurrent(), 6, decoder_size=4, decoder_layers=2)
    decoder = StackedLSTM(None, 4, 2)
    with bfloat16():
        h_TBH, last = decoder(None, encoder.represent(torch.randn(5, 3, 6)), steps=3)
    assert {state.c_BH.dtype for state in last} == {torch.float32}
    h_TBH.sum().backward()
    for module in (encoder, decoder):
        for name, parameter in module.named_parameters():
            assert parameter.grad.dtype == torch.float32, name
            assert bool(parameter.grad.isfinite().all()), name


def test_values_and_gradients_are_those_of_float32_to_the_precision_of_bfloat16():
    stack = filled(StackedLSTM(6, 16, 2))
    x_TBD = torch.randn(8, 5, 6)

    def run(lower):
        stack.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            h_TBH, _ = stack(x_TBD)
        h_TBH.square().sum().backward()
        gradients = torch.cat([each.grad.flatten() for each in stack.parameters()])
        return h_TBH.detach(), gradients

    (exact_TBH, exact), (lower_TBH, lower) = run(False), run(True)
    # bfloat16 rounds to 2^-9 relative; gates pass less than that on, and 8 steps of 2 layers add up a few of them.
    assert float((lower_TBH - exact_TBH).abs().max()) < 8 * 2**-9
    assert float((lower - exact).norm() / exact.norm()) < 8 * 2**-9
    assert not torch.equal(lower_TBH, exact_TBH)


@pytest.mark.parametrize("output", ["logistic", "linear"])
def test_a_loss_of_bfloat16_outputs_is_that_of_the_same_numbers_in_float32(output):
    raw_TBD, target_TBD = torch.randn(3, 2, 500).bfloat16(), torch.rand(3, 2, 500)
    loss_TB = frame_loss(raw_TBD, target_TBD, output)
    assert loss_TB.dtype == torch.float32
    assert torch.equal(loss_TB, frame_loss(raw_TBD.float(), target_TBD, output))
