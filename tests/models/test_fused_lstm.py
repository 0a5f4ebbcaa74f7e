"""The fused LSTM against the plain one in float64, and what only it can get wrong: buffers, threads, what is given.

Letters: R replicas, T steps, B sequences, D inputs, H units.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import compiled_lstm, fused_lstm
from models.encoder import LSTMEncoder
from models.lstm import LSTMState, PeepholeLSTM, StackedLSTM

FUSED = ["in_place", "compiled"]


@pytest.fixture(params=FUSED)
def name(request):
    return request.param


def filled(layer, seed=0, bound=0.8):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_((2 * drawn - 1) * bound)
    return layer


def everything(layer, name, x_TBD, state, steps, seed=1):
    """Outputs, last state, and the gradients of all that a random loss of all three depends on."""
    generator = torch.Generator().manual_seed(seed)
    leaves = [each.detach().clone().requires_grad_() for each in (x_TBD, *(() if state is None else state)) if each is not None]  # fmt: skip
    rest = iter(leaves)
    x = None if x_TBD is None else next(rest)
    start = None if state is None else LSTMState(next(rest), next(rest))
    with fused_lstm.use(name):
        h_TBH, last = layer(x, start, steps=steps)
    answers = [h_TBH, *last]
    loss = sum(
        (each * torch.randn(each.shape, generator=generator, dtype=torch.float64).to(each)).sum()
        for each in answers
    )
    gradients = torch.autograd.grad(loss, [*leaves, *layer.parameters()])
    return [each.detach() for each in (*answers, *gradients)]


SHAPES = st.tuples(*(st.integers(1, top) for top in (6, 5, 9, 150)))


@settings(deadline=None, max_examples=60)
@given(shape=SHAPES, with_input=st.booleans(), with_state=st.booleans(), seed=st.integers(0, 9))
@pytest.mark.parametrize("name", FUSED)
def test_values_and_all_gradients_are_those_of_the_plain_one(
    name, shape, with_input, with_state, seed
):
    T, B, D, H = shape
    with_state = with_state or not with_input
    layer = filled(PeepholeLSTM(D if with_input else None, H), seed).double()
    generator = torch.Generator().manual_seed(seed)
    x_TBD = torch.randn(T, B, D, generator=generator, dtype=torch.float64) if with_input else None
    state = torch.randn(2, B, H, generator=generator, dtype=torch.float64) if with_state else None
    steps = None if with_input else T
    expected = everything(layer, "plain", x_TBD, state, steps)
    for ours, theirs in zip(everything(layer, name, x_TBD, state, steps), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("T", "B", "D", "H"), [(16, 7, 33, 65), (3, 1, 5, 1), (16, 140, 9, 130)])
def test_float32_is_as_near_to_float64_as_the_plain_float32_is(name, T, B, D, H):
    layer = filled(PeepholeLSTM(D, H), bound=0.3)
    x_TBD, state = torch.randn(T, B, D), torch.randn(2, B, H)
    ours, plain = (everything(layer, each, x_TBD, state, None) for each in (name, "plain"))
    exact = everything(layer.double(), "plain", x_TBD.double(), state.double(), None)
    for mine, theirs, truth in zip(ours, plain, exact, strict=True):
        error, usual = ((each.double() - truth).norm() / truth.norm() for each in (mine, theirs))
        assert error < 3 * usual + 1e-7


def test_the_float32_functions_are_right_to_a_few_last_bits():
    """One step of as many units as there are points, whose pre-activations are the points where they are not 200."""
    tiny = torch.logspace(-30, 2, 2000)
    points = torch.cat([torch.linspace(-30, 30, 20001), tiny, -tiny])
    H = len(points)
    nothing = torch.zeros(1, 1, 1).expand(1, 4 * H, H)  # no product is made from a zero state

    def step(*, i=200.0, f=200.0, candidate=200.0, cell=0.0):
        gates = torch.full((4, H), 200.0)  # a gate of 200 is open to the last bit
        for row, pre in enumerate((i, f, candidate)):
            gates[row] = pre
        h, c = torch.zeros(2, 1, 2, 1, H)
        c[:, 0] = cell
        compiled_lstm.forward(
            gates.view(1, 1, 1, 4 * H), nothing, torch.zeros(1, 4 * H), torch.zeros(1, 3, H), h, c,
            fresh=False, from_zero=True,
        )  # fmt: skip
        return h[0, 1, 0], c[0, 1, 0]

    exact = points.double()
    for ours, truth in (
        (step(i=points)[1], torch.sigmoid(exact)),
        (step(candidate=points)[1], torch.tanh(exact)),
        (step(i=-200.0, cell=points)[0], torch.tanh(exact)),
    ):
        wide = truth.abs() > 1.2e-38  # below, float32 itself has fewer digits
        error = (ours.double() - truth).abs() / truth.abs()
        assert error[wide].max() < 4 * 2**-23
        assert (ours[~wide].abs() < 2e-38).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_nan_stays_in_its_sequence_and_huge_numbers_saturate(name, dtype):
    layer = filled(PeepholeLSTM(4, 40)).to(dtype)
    x_TBD = torch.randn(5, 3, 4).to(dtype)
    x_TBD[2, 1, 0] = float("nan")
    x_TBD[:, 2] = 1e30
    with fused_lstm.use(name):
        h_TBH, last = layer(x_TBD)
    assert h_TBH[:2].isfinite().all()
    assert h_TBH[2:, 1].isnan().all()
    assert h_TBH[:, [0, 2]].isfinite().all()
    assert last.c_BH[[0, 2]].isfinite().all()


def test_inputs_and_gradients_may_lie_in_memory_as_they_like(name):
    layer = filled(PeepholeLSTM(6, 5)).double()
    x_BTD = torch.randn(3, 4, 6, dtype=torch.float64)
    state = torch.randn(5, 3, 2, dtype=torch.float64).permute(2, 1, 0)  # (2, B, H), no step of one
    with fused_lstm.use(name):
        results = []
        for x_TBD, start in (
            (x_BTD.transpose(0, 1), state),
            (x_BTD.transpose(0, 1).contiguous(), state.contiguous()),
        ):
            layer.zero_grad()
            h_TBH, last = layer(x_TBD, LSTMState(*start))
            # Gradients with stride 0 (of a sum), and with the batch first.
            (h_TBH.sum() + last.c_BH.sum() + last.h_BH.t().contiguous().square().sum()).backward()
            weights_BTH = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))
            layer(x_TBD, LSTMState(*start))[0].transpose(0, 1).backward(weights_BTH.double())
            results.append([h_TBH.detach(), *(each.grad for each in layer.parameters())])
    for strange, plain in zip(*results, strict=True):
        torch.testing.assert_close(strange, plain, rtol=0, atol=1e-13)


def test_what_is_given_is_not_written_to(name):
    stack = filled(StackedLSTM(6, 5, 2))
    x_TBD, state = torch.randn(4, 3, 6), [LSTMState(*torch.randn(2, 3, 5)) for _ in range(2)]
    given = [x_TBD, *state[0], *state[1], *stack.parameters()]
    before = [each.detach().clone() for each in given]
    with fused_lstm.use(name):
        h_TBH, last = stack(x_TBD, state)
        kept = [h_TBH.detach().clone(), *(part.detach().clone() for each in last for part in each)]
        stack(x_TBD, state)[0].sum().backward()  # another pass, of the same sizes
        h_TBH.sum().backward()
    for each, once in zip(given, before, strict=True):
        assert torch.equal(each, once)
    answers = [h_TBH, *(part for layer in last for part in layer)]
    for each, once in zip(answers, kept, strict=True):
        assert torch.equal(each, once)


def test_a_graph_that_is_kept_can_be_walked_again(name):
    layer = filled(PeepholeLSTM(6, 5))
    with fused_lstm.use(name):
        h_TBH, _ = layer(torch.randn(4, 3, 6))
    loss = h_TBH.square().sum()
    first = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    again = torch.autograd.grad(loss, list(layer.parameters()))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)


def test_a_changed_output_is_noticed_in_the_backward_pass(name):
    """The outputs are what the backward pass reads: writing to them must not give a wrong gradient."""
    layer = filled(PeepholeLSTM(6, 5))
    with fused_lstm.use(name):
        h_TBH, _ = layer(torch.randn(4, 3, 6))
    with torch.no_grad():
        h_TBH.detach().zero_()
    with pytest.raises(RuntimeError, match=r"modified.* in-?place|modified by an inplace"):
        h_TBH.sum().backward()


def test_a_second_derivative_is_refused_and_the_way_out_works(name):
    layer = filled(PeepholeLSTM(3, 2)).double()
    x_TBD = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    with fused_lstm.use(name):
        loss = layer(x_TBD)[0].sum()
        with pytest.raises(RuntimeError, match=r"no second derivative.*HARNESS_LSTM=plain"):
            torch.autograd.grad(loss, x_TBD, create_graph=True)
    with fused_lstm.use("plain"):
        (slope,) = torch.autograd.grad(layer(x_TBD)[0].sum(), x_TBD, create_graph=True)
        slope.sum().backward()
    assert x_TBD.grad.abs().sum() > 0


@pytest.mark.parametrize("frozen", ["weight_x", "weight_h", "bias", "peephole"])
def test_frozen_parameters_change_no_other_gradient(name, frozen):
    layer = filled(PeepholeLSTM(6, 5))
    x_TBD = torch.randn(4, 3, 6)
    with fused_lstm.use(name):
        layer(x_TBD)[0].square().sum().backward()
        expected = {key: each.grad for key, each in layer.named_parameters()}
        layer.zero_grad()
        getattr(layer, frozen).requires_grad_(False)
        layer(x_TBD)[0].square().sum().backward()
    for key, parameter in layer.named_parameters():
        if key == frozen:
            assert parameter.grad is None
        else:
            assert torch.equal(parameter.grad, expected[key])


def test_nothing_is_kept_when_no_gradient_is_wanted(name):
    layer = filled(PeepholeLSTM(6, 5))
    with fused_lstm.use(name), torch.no_grad():
        h_TBH, last = layer(torch.randn(4, 3, 6))
    assert h_TBH.grad_fn is None
    assert last.c_BH.grad_fn is None


def test_one_step_at_a_time_is_the_whole_sequence(name):
    stack = filled(StackedLSTM(6, 5, 2)).double()
    x_TBD = torch.randn(7, 3, 6, dtype=torch.float64)
    with fused_lstm.use(name):
        whole_TBH, _ = stack(x_TBD)
        state, steps = None, []
        for x_BD in x_TBD:
            h_1BH, state = stack(x_BD.unsqueeze(0), state)
            steps.append(h_1BH)
        whole = torch.autograd.grad(whole_TBH.square().sum(), list(stack.parameters()))
        stepped = torch.autograd.grad(torch.cat(steps).square().sum(), list(stack.parameters()))
    torch.testing.assert_close(torch.cat(steps), whole_TBH, rtol=0, atol=1e-13)
    for one, other in zip(whole, stepped, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_replicas_are_models_of_their_own(name):
    R, T, B, D, H = 3, 5, 40, 6, 141
    layers = [filled(PeepholeLSTM(D, H), seed).double() for seed in range(R)]
    x_RTBD = torch.randn(R, T, B, D, dtype=torch.float64)
    h_RBH, c_RBH = torch.randn(2, R, B, H, dtype=torch.float64)
    stacked = [
        torch.stack([each.detach() for each in parameters]).requires_grad_()
        for parameters in zip(*(layer.parameters() for layer in layers), strict=True)
    ]
    weight_x_RGD, weight_h_RGH, bias_RG, peephole_R3H = stacked
    product_RTBG = (x_RTBD.flatten(1, 2) @ weight_x_RGD.transpose(1, 2)).view(R, T, B, 4 * H)
    answers = fused_lstm.run(
        product_RTBG, weight_h_RGH, bias_RG, peephole_R3H, (h_RBH, c_RBH), steps=T, batch=B, implementation=name
    )  # fmt: skip
    sum(each.square().sum() for each in answers).backward()
    for index, layer in enumerate(layers):
        with fused_lstm.use("plain"):
            h_TBH, last = layer(x_RTBD[index], LSTMState(h_RBH[index], c_RBH[index]))
        sum(each.square().sum() for each in (h_TBH, *last)).backward()
        for ours, theirs in zip(answers, (h_TBH, *last), strict=True):
            torch.testing.assert_close(ours[index], theirs, rtol=1e-11, atol=1e-12)
        for ours, theirs in zip(stacked, layer.parameters(), strict=True):
            torch.testing.assert_close(ours.grad[index], theirs.grad, rtol=1e-10, atol=1e-11)


def test_products_of_frames_can_be_made_before(name):
    encoder = filled(LSTMEncoder(6, 5, 2)).double()
    frames_ND = torch.randn(9, 6, dtype=torch.float64)
    windows_TB = torch.tensor([[0, 3, 5], [1, 4, 6], [2, 5, 7], [3, 6, 8]])
    with fused_lstm.use(name), torch.no_grad():
        expected_TBH = encoder(frames_ND[windows_TB])
        products_NG = encoder.frame_products(frames_ND)
        for _ in range(2):  # the products of the frames themselves are not overwritten
            ours_TBH = encoder.forward_from_products(products_NG[windows_TB])
            torch.testing.assert_close(ours_TBH, expected_TBH, rtol=0, atol=1e-13)


def test_bfloat16_products_with_a_float32_state(name):
    """Each rounding is 2^-9 relative; gates pass on less than that, and 8 steps of 2 layers add up a few of them."""
    stack = filled(StackedLSTM(6, 16, 2), bound=0.3)
    x_TBD = torch.randn(8, 5, 6)

    def results(lower):
        stack.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            h_TBH, last = stack(x_TBD)
        h_TBH.square().sum().backward()
        assert {each.dtype for each in (h_TBH, *last[0], *last[1])} == {torch.float32}
        gradients = torch.cat([each.grad.flatten() for each in stack.parameters()])
        return h_TBH.detach(), gradients

    with fused_lstm.use(name):
        (exact_TBH, exact), (lower_TBH, lower) = results(False), results(True)
    assert float((lower_TBH - exact_TBH).abs().max()) < 8 * 2**-9
    assert float((lower - exact).norm() / exact.norm()) < 8 * 2**-9
    assert not torch.equal(lower_TBH, exact_TBH)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_bit_of_the_steps(threads):
    """Only the pointwise part is asked here: what products do with threads is torch's affair."""
    T, B, H = 2, 130, 200  # enough for threads
    layer = filled(PeepholeLSTM(None, H))
    with torch.no_grad():
        layer.weight_h.zero_()
    state = LSTMState(torch.randn(B, H), torch.randn(B, H))
    before = torch.get_num_threads()
    try:
        results = []
        for number in (1, threads):
            torch.set_num_threads(number)
            results.append(everything(layer, "compiled", None, state, T))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_the_plain_one_takes_what_has_no_numbers():
    layer = PeepholeLSTM(6, 5).to("meta")
    h_TBH, _ = layer(torch.empty(4, 3, 6, device="meta"))
    assert h_TBH.shape == (4, 3, 5)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_what_follows_the_operations_gets_the_plain_ones():
    encoder = filled(LSTMEncoder(6, 5, 2))
    frames_TBD = torch.randn(4, 3, 6)
    with fused_lstm.use("plain"), torch.no_grad():
        expected_TBH = encoder(frames_TBD)
    for followed in (
        torch.export.export(encoder, (frames_TBD,)).module(),
        torch.jit.trace(encoder, (frames_TBD,), check_trace=False),
    ):
        with torch.no_grad():
            assert torch.equal(followed(frames_TBD), expected_TBH)


def test_the_sum_of_a_float32_layer_is_not_that_of_its_double():
    """The two compiled sets of functions are two: their difference is float32's rounding."""
    layer = filled(PeepholeLSTM(6, 50))
    x_TBD = torch.randn(4, 3, 6)
    with fused_lstm.use("compiled"), torch.no_grad():
        single = layer(x_TBD)[0].numpy()
        double = layer.double()(x_TBD.double())[0].numpy()
    assert 0 < np.abs(single - double).max() < 1e-5
