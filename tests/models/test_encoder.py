"""Wrapping a user's own encoder.

Letters: T steps, B sequences, D numbers in a frame, H units of the encoder.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.autoencoder import EncoderDecoder, frame_loss, reversed_targets
from models.classifier import LSTMClassifier, load_encoder
from models.dropout import Dropout
from models.encoder import WrappedEncoder


class MyGRU(nn.Module):
    def __init__(self, frame_size, hidden_size):
        super().__init__()
        self.norm = nn.BatchNorm1d(frame_size)
        self.gru = nn.GRU(frame_size, hidden_size)

    def forward(self, frames_TBD):
        normed_TBD = self.norm(frames_TBD.flatten(0, 1)).view_as(frames_TBD)
        return self.gru(normed_TBD)[0]


class LastStateOnly(MyGRU):
    def forward(self, frames_TBD):
        return super().forward(frames_TBD)[-1]


class OneNumberAFrame(MyGRU):
    def forward(self, frames_TBD):
        return super().forward(frames_TBD).mean(2)


class BatchFirst(MyGRU):
    def forward(self, frames_TBD):
        return super().forward(frames_TBD).transpose(0, 1)


def wrapped(module, frame_size=6, hidden_size=None):
    return WrappedEncoder(module, frame_size, hidden_size, decoder_size=4, decoder_layers=2)


def test_the_width_of_the_states_is_found_by_running_the_module():
    assert wrapped(MyGRU(6, 5)).hidden_size == 5
    assert wrapped(MyGRU(6, 5).double()).hidden_size == 5


@pytest.mark.parametrize("frozen", [False, True])
def test_probing_leaves_modes_and_statistics_as_they_were(frozen):
    module = MyGRU(6, 5)
    module.norm.train(not frozen)  # a part that its owner keeps in eval mode stays there
    module.norm.running_mean.fill_(7.0)
    wrapped(module)
    assert module.training
    assert module.gru.training
    assert module.norm.training != frozen
    assert torch.equal(module.norm.running_mean, torch.full((6,), 7.0))


def test_probing_restores_the_modes_when_the_module_fails():
    module = MyGRU(6, 5)
    with pytest.raises(RuntimeError):
        wrapped(module, frame_size=9)
    assert module.training
    assert module.norm.training


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(LastStateOnly, "(1, 5)"), (OneNumberAFrame, "(2, 1)"), (BatchFirst, "(1, 2, 5)")],
)
def test_a_module_that_returns_no_sequence_of_states_is_told_so(kind, shape):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole sentence is compared below
        wrapped(kind(6, 5))
    assert str(error.value) == (
        f"{kind.__name__} returned a tensor of shape {shape} for frames of shape (2, 1, 6): "
        "an encoder maps (T, B, D) frames to (T, B, H) states"
    )


def test_a_module_that_returns_a_tuple_is_asked_for_the_states_alone():
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole sentence is compared below
        wrapped(nn.LSTM(6, 5))
    assert str(error.value) == (
        "LSTM returned a tuple for frames of shape (2, 1, 6): an encoder maps (T, B, D) frames to "
        "(T, B, H) states; return the states alone"
    )


def test_a_given_width_is_believed_until_the_module_runs():
    encoder = wrapped(MyGRU(6, 5), hidden_size=8)
    assert encoder.hidden_size == 8
    with pytest.raises(ValueError, match="H was given as 8"):
        encoder(torch.rand(3, 2, 6))


def test_dropout_falls_on_the_frames():
    encoder = wrapped(MyGRU(6, 5)).eval()
    frames_TBD = torch.rand(3, 2, 6)

    def dropout():
        return Dropout(0.5, torch.Generator().manual_seed(3), batch_size=2)

    dropped_TBH = encoder(frames_TBD, dropout())
    torch.testing.assert_close(dropped_TBH, encoder.module(dropout()(frames_TBD)))
    assert not torch.allclose(dropped_TBH, encoder(frames_TBD))


def test_the_representation_bridges_the_last_state_to_every_decoder_layer(randomised):
    encoder = randomised(wrapped(MyGRU(6, 5))).eval()
    frames_TBD = torch.rand(3, 2, 6, dtype=torch.float64)
    last_BH = encoder.module(frames_TBD)[-1]
    represented = encoder.represent(frames_TBD)
    assert len(represented) == 2
    for layer, (h_BH, c_BH) in enumerate(represented):
        to_h, to_c = encoder.bridges_h[layer], encoder.bridges_c[layer]
        torch.testing.assert_close(h_BH, torch.tanh(last_BH @ to_h.weight.T + to_h.bias))
        torch.testing.assert_close(c_BH, last_BH @ to_c.weight.T + to_c.bias)


def test_it_pretrains_and_then_starts_a_classifier():
    encoder = wrapped(MyGRU(6, 5))
    model = EncoderDecoder(
        encoder,
        frame_size=6,
        hidden_size=4,
        num_layers=2,
        reconstruct="unconditioned",
        predict="conditional",
        output="linear",
    )
    frames_TBD, future_TBD = torch.rand(3, 2, 6), torch.rand(2, 2, 6)
    decoded = model(frames_TBD, future_TBD, teacher_forced=True)
    loss_TB = frame_loss(decoded.reconstruction_TBD, reversed_targets(frames_TBD), "linear")
    (loss_TB.sum() + frame_loss(decoded.future_TBD, future_TBD, "linear").sum()).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name

    classifier = LSTMClassifier(wrapped(MyGRU(6, 5)), 3).eval()
    load_encoder(classifier.encoder, encoder.state_dict())
    torch.testing.assert_close(classifier.encoder(frames_TBD), encoder.eval()(frames_TBD))
