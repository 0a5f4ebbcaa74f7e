"""The LSTM against its equations, written out once more in NumPy, and against torch.nn.LSTM.

Letters: T steps, B sequences, D inputs, H units.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models import fused_lstm
from models.dropout import Dropout
from models.lstm import LSTMState, PeepholeLSTM, StackedLSTM

pytestmark = pytest.mark.usefixtures("implementation")
SIZES = [(5, 3, 4, 6), (1, 3, 4, 6), (5, 1, 4, 6), (3, 2, 7, 5), (2, 2, 1, 1)]


@pytest.fixture(params=["plain", "in_place", "compiled"])
def implementation(request):
    """Every test of this file is one of each implementation."""
    with fused_lstm.use(request.param):
        yield


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def layer_in_numpy(layer, x_TBD, h_BH, c_BH, steps):
    """Follow section 2.1 one matrix at a time, as printed."""
    wh = {gate: w.numpy() for gate, w in zip("ifco", layer.weight_h.data.chunk(4), strict=True)}
    b = {gate: v.numpy() for gate, v in zip("ifco", layer.bias.data.chunk(4), strict=True)}
    p = dict(zip("ifo", layer.peephole.data.numpy(), strict=True))
    if layer.weight_x is not None:
        wx = {gate: w.numpy() for gate, w in zip("ifco", layer.weight_x.data.chunk(4), strict=True)}
    outputs = []
    for t in range(steps):
        z = {gate: h_BH @ wh[gate].T + b[gate] for gate in "ifco"}
        if x_TBD is not None:
            z = {gate: z[gate] + x_TBD[t] @ wx[gate].T for gate in "ifco"}
        i = sigmoid(z["i"] + p["i"] * c_BH)
        f = sigmoid(z["f"] + p["f"] * c_BH)
        c_BH = f * c_BH + i * np.tanh(z["c"])
        o = sigmoid(z["o"] + p["o"] * c_BH)
        h_BH = o * np.tanh(c_BH)
        outputs.append(h_BH)
    return np.stack(outputs), h_BH, c_BH


def random_state(batch_size, hidden_size):
    h_BH, c_BH = torch.randn(2, batch_size, hidden_size, dtype=torch.float64)
    return LSTMState(h_BH, c_BH)


def assert_near(ours, theirs):
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("T", "B", "D", "H"), SIZES)
def test_a_layer_follows_the_equations(T, B, D, H, randomised):
    layer = randomised(PeepholeLSTM(D, H))
    x_TBD, state = torch.randn(T, B, D, dtype=torch.float64), random_state(B, H)
    h_TBH, last = layer(x_TBD, state)
    expected_TBH, h_BH, c_BH = layer_in_numpy(layer, x_TBD.numpy(), *map(np.asarray, state), T)
    assert_near(h_TBH, expected_TBH)
    assert_near(last.h_BH, h_BH)
    assert_near(last.c_BH, c_BH)


@pytest.mark.parametrize("input_size", [None, 4])
@pytest.mark.parametrize(("T", "B", "H"), [(4, 3, 5), (1, 1, 3)])
def test_a_layer_without_input_follows_the_equations_bias_included(input_size, T, B, H, randomised):
    layer = randomised(PeepholeLSTM(input_size, H))
    state = random_state(B, H)
    h_TBH, last = layer(None, state, steps=T)
    expected_TBH, _, c_BH = layer_in_numpy(layer, None, *map(np.asarray, state), T)
    assert_near(h_TBH, expected_TBH)
    assert_near(last.c_BH, c_BH)


@pytest.mark.parametrize(("T", "B", "D", "H"), SIZES)
def test_two_layers_follow_the_equations(T, B, D, H, randomised):
    stack = randomised(StackedLSTM(D, H, 2))
    x_TBD, state = torch.randn(T, B, D, dtype=torch.float64), [random_state(B, H) for _ in range(2)]
    h_TBH, last = stack(x_TBD, state)
    below_TBH, *last_0 = layer_in_numpy(
        stack.layers[0], x_TBD.numpy(), *map(np.asarray, state[0]), T
    )
    expected_TBH, *last_1 = layer_in_numpy(
        stack.layers[1], below_TBH, *map(np.asarray, state[1]), T
    )
    assert_near(h_TBH, expected_TBH)
    for ours, theirs in zip((*last[0], *last[1]), (*last_0, *last_1), strict=True):
        assert_near(ours, theirs)


def test_a_stack_without_input_still_joins_its_layers(randomised):
    stack = randomised(StackedLSTM(None, 3, 2))
    state = [random_state(2, 3) for _ in range(2)]
    h_TBH, _ = stack(None, state, steps=4)
    below_TBH, *_ = layer_in_numpy(stack.layers[0], None, *map(np.asarray, state[0]), 4)
    expected_TBH, *_ = layer_in_numpy(stack.layers[1], below_TBH, *map(np.asarray, state[1]), 4)
    assert_near(h_TBH, expected_TBH)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_without_peepholes_values_and_gradients_are_those_of_torch(num_layers, randomised):
    stack = randomised(StackedLSTM(4, 5, num_layers))
    theirs = randomised(nn.LSTM(4, 5, num_layers))
    with torch.no_grad():
        for index, layer in enumerate(stack.layers):
            layer.peephole.zero_()
            layer.weight_x.copy_(getattr(theirs, f"weight_ih_l{index}"))
            layer.weight_h.copy_(getattr(theirs, f"weight_hh_l{index}"))
            layer.bias.copy_(
                getattr(theirs, f"bias_ih_l{index}") + getattr(theirs, f"bias_hh_l{index}")
            )
    x_TBD = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)
    their_x_TBD = x_TBD.detach().clone().requires_grad_()
    h_TBH, last = stack(x_TBD)
    their_h_TBH, (their_h, their_c) = theirs(their_x_TBD)
    torch.testing.assert_close(h_TBH, their_h_TBH)
    torch.testing.assert_close(torch.stack([state.h_BH for state in last]), their_h)
    torch.testing.assert_close(torch.stack([state.c_BH for state in last]), their_c)

    weight_TBH = torch.randn_like(h_TBH)
    (h_TBH * weight_TBH).sum().backward()
    (their_h_TBH * weight_TBH).sum().backward()
    torch.testing.assert_close(x_TBD.grad, their_x_TBD.grad)
    for index, layer in enumerate(stack.layers):
        torch.testing.assert_close(layer.weight_x.grad, getattr(theirs, f"weight_ih_l{index}").grad)
        torch.testing.assert_close(layer.weight_h.grad, getattr(theirs, f"weight_hh_l{index}").grad)
        torch.testing.assert_close(layer.bias.grad, getattr(theirs, f"bias_ih_l{index}").grad)


@pytest.mark.parametrize("input_size", [None, 2])
def test_gradients_match_finite_differences(input_size, randomised):
    layer = randomised(PeepholeLSTM(input_size, 3))
    names = [name for name, _ in layer.named_parameters()]
    assert "peephole" in names
    x_TBD = None if input_size is None else torch.randn(3, 2, 2, dtype=torch.float64)
    start = random_state(2, 3)

    def run(h_BH, c_BH, *tensors):
        parameters = dict(zip(names, tensors, strict=True))
        h_TBH, last = torch.func.functional_call(
            layer, parameters, (x_TBD, LSTMState(h_BH, c_BH)), {"steps": 3}
        )
        return h_TBH, last.c_BH

    inputs = [t.detach().clone().requires_grad_() for t in (*start, *layer.parameters())]
    assert torch.autograd.gradcheck(run, inputs)


def test_weights_start_uniform_within_fan_in_and_the_rest_at_zero():
    layer = PeepholeLSTM(400, 100)
    for weight, columns in ((layer.weight_x, 400), (layer.weight_h, 100)):
        bound = columns**-0.5
        assert weight.shape == (400, columns)
        assert weight.abs().max() <= bound
        assert weight.max() > 0.99 * bound
        assert weight.min() < -0.99 * bound
        # Variance of U(-b, b) is b^2 / 3; 40,000 draws pin it down to about half a percent.
        assert weight.var().item() == pytest.approx(bound**2 / 3, rel=0.03)
        assert weight.mean().item() == pytest.approx(0, abs=0.02 * bound)
    assert layer.bias.shape == (400,)
    assert layer.peephole.shape == (3, 100)
    assert not layer.bias.any()
    assert not layer.peephole.any()


def test_a_stack_starts_at_zero_when_given_no_state(randomised):
    stack = randomised(StackedLSTM(4, 5, 2))
    x_TBD = torch.randn(3, 2, 4, dtype=torch.float64)
    state = stack.zero_state(2, x_TBD)
    assert [tuple(part.shape) for layer in state for part in layer] == [(2, 5)] * 4
    assert not any(part.any() for layer in state for part in layer)
    assert state[0].h_BH.dtype == torch.float64
    torch.testing.assert_close(stack(x_TBD)[0], stack(x_TBD, state)[0], rtol=0, atol=0)


def test_a_stack_resumes_where_it_stopped(randomised):
    stack = randomised(StackedLSTM(4, 5, 2))
    x_TBD = torch.randn(6, 2, 4, dtype=torch.float64)
    whole_TBH, _ = stack(x_TBD)
    first_TBH, state = stack(x_TBD[:2])
    second_TBH, _ = stack(x_TBD[2:], state)
    torch.testing.assert_close(torch.cat([first_TBH, second_TBH]), whole_TBH)


def test_dropout_falls_on_every_layers_input_and_never_between_steps(randomised):
    stack = randomised(StackedLSTM(4, 5, 2))
    x_TBD = torch.randn(6, 3, 4, dtype=torch.float64)

    def dropout():
        return Dropout(0.5, torch.Generator().manual_seed(1), batch_size=3)

    dropped_TBH, last = stack(x_TBD, dropout=dropout())
    # The same masks by hand, around layers that know nothing of dropout: so their recurrence, and
    # the top output, are untouched.
    by_hand = dropout()
    zeros = stack.zero_state(3, x_TBD)
    below_TBH, last_0 = stack.layers[0](by_hand(x_TBD), zeros[0])
    expected_TBH, last_1 = stack.layers[1](by_hand(below_TBH), zeros[1])
    torch.testing.assert_close(dropped_TBH, expected_TBH, rtol=0, atol=0)
    torch.testing.assert_close(last, (last_0, last_1), rtol=0, atol=0)
    assert not torch.allclose(dropped_TBH, stack(x_TBD)[0])


def test_wrong_calls_are_explained():
    state = LSTMState(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="pass steps="):
        PeepholeLSTM(None, 3)(None, state)
    with pytest.raises(ValueError, match="no input weights"):
        PeepholeLSTM(None, 3)(torch.zeros(1, 2, 3), state)
    with pytest.raises(ValueError, match="contradicts the 1 inputs"):
        PeepholeLSTM(3, 3)(torch.zeros(1, 2, 3), state, steps=2)
    with pytest.raises(ValueError, match="batch size is unknown"):
        StackedLSTM(None, 3, 1)(None, steps=2)
    with pytest.raises(ValueError, match="1 states for 2 layers"):
        StackedLSTM(None, 3, 2)(None, [state], steps=2)
    with pytest.raises(ValueError, match="at least one layer"):
        StackedLSTM(3, 3, 0)
