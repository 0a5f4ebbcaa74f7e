"""The GPU's kernels under Triton's interpreter, against the equations in float64.

The environment says that Triton interprets (tests/conftest.py), so that no GPU is needed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("triton", reason="triton is not installed: it exists for Linux alone")

import triton
import triton.language as tl
from triton.runtime import interpreter

from models import fused_lstm, in_place_lstm, triton_kernels, triton_lstm
from models.lstm import LSTMState, StackedLSTM

HALF_ULP = torch.finfo(torch.bfloat16).eps / 2  # bfloat16's largest relative error of rounding
FLOAT32_ERROR = 3e-6  # what sums of a few dozen float32 numbers of size 1 lose, over a few steps


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Several programs, the last of them partly filled, at sizes that an interpreter gets through."""
    monkeypatch.setattr(triton_lstm, "BLOCK_B", 2)
    monkeypatch.setattr(triton_lstm, "BLOCK_H", 4)


@pytest.fixture(autouse=True)
def _rounded_as_on_a_gpu(monkeypatch):
    """The interpreter cuts bfloat16 off where a GPU rounds to nearest."""
    cut_off = interpreter._convert_float

    def convert(values, from_dtype, to_dtype, rounding):
        if (from_dtype, to_dtype) == (tl.float32, tl.bfloat16):
            rounded = torch.from_numpy(np.ascontiguousarray(values, np.float32)).bfloat16()
            return rounded.view(torch.uint16).numpy()
        return cut_off(values, from_dtype, to_dtype, rounding)

    monkeypatch.setattr(interpreter, "_convert_float", convert)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Inputs, and the gradients that come back: float64, and exact in the dtype of the products. None is zero."""

    product: torch.Tensor | None
    weight: torch.Tensor
    bias: torch.Tensor
    peephole: torch.Tensor
    h0: torch.Tensor | None
    c0: torch.Tensor
    d_output: torch.Tensor | None
    d_last_h: torch.Tensor | None
    d_last_c: torch.Tensor
    steps: int


def problem(R, T, B, H, *, without=(), seed=0, dtype=torch.float32, weights=1.0):
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0, as_dtype=torch.float32):
        values = scale * torch.randn(shape, generator=draw, dtype=torch.float64)
        return values.to(as_dtype).double()

    made = Problem(
        product=normal(R, T, B, 4 * H, as_dtype=dtype),
        weight=normal(R, 4 * H, H, scale=weights / H**0.5, as_dtype=dtype),
        bias=normal(R, 4 * H),
        peephole=normal(R, 3, H),
        h0=normal(R, B, H, scale=0.5),
        c0=normal(R, B, H),
        d_output=normal(R, T, B, H),
        d_last_h=normal(R, B, H),
        d_last_c=normal(R, B, H),
        steps=T,
    )
    if "h0" in without:  # as a caller has it: both or none
        made = replace(made, c0=torch.zeros_like(made.c0))
    return replace(made, **dict.fromkeys(without))


def reference(given):
    """Give h and c of T + 1 steps, activations, and all gradients, by autograd of the written-out equations."""
    (R, B, H), T = given.c0.shape, given.steps
    zeros = {"product": (R, T, B, 4 * H), "h0": (R, B, H), "d_output": (R, T, B, H), "d_last_h": (R, B, H)}  # fmt: skip
    given = replace(
        given,
        **{
            name: torch.zeros(shape, dtype=torch.float64)
            for name, shape in zeros.items()
            if getattr(given, name) is None
        },
    )
    names = ("product", "weight", "bias", "peephole", "h0", "c0")
    leaf = {name: getattr(given, name).clone().requires_grad_() for name in names}
    w_ci, w_cf, w_co = (leaf["peephole"][:, row, None] for row in range(3))
    h, c = leaf["h0"], leaf["c0"]
    all_h, all_c, all_gates = [h], [c], []
    for step in range(T):
        z = leaf["product"][:, step] + leaf["bias"][:, None]
        z_i, z_f, z_g, z_o = (z + torch.einsum("rgh,rbh->rbg", leaf["weight"], h)).split(H, 2)
        i, f, g = (z_i + w_ci * c).sigmoid(), (z_f + w_cf * c).sigmoid(), z_g.tanh()
        c = f * c + i * g
        o = (z_o + w_co * c).sigmoid()
        h = o * c.tanh()
        all_h.append(h)
        all_c.append(c)
        all_gates.append(torch.cat([i, f, g, o], 2))
    loss = sum((all_h[step + 1] * given.d_output[:, step]).sum() for step in range(T))
    (loss + (h * given.d_last_h).sum() + (c * given.d_last_c).sum()).backward()
    values = {name: torch.stack(each, 1).detach() for name, each in (("h", all_h), ("c", all_c), ("gates", all_gates))}  # fmt: skip
    return values, {name: each.grad for name, each in leaf.items()}


def ours(given, dtype=torch.float32):
    (R, B, H), T = given.c0.shape, given.steps
    gates = torch.full((R, T, B, 4 * H), float("nan")) if given.product is None else given.product
    gates = gates.to(dtype, copy=True)
    h, c = (torch.full((R, T + 1, B, H), float("nan")) for _ in range(2))
    h[:, 0], c[:, 0] = 0 if given.h0 is None else given.h0, given.c0
    weight = given.weight.to(dtype)
    bias, peephole = given.bias.float(), given.peephole.float()
    triton_lstm.forward(
        gates, weight, bias, peephole, h, c, fresh=given.product is None, from_zero=given.h0 is None
    )
    values = {"h": h, "c": c, "gates": gates.clone()}
    d_gates, d_c = torch.full_like(gates, float("nan")), given.d_last_c.float()
    d_output, d_last_h = (None if each is None else each.float() for each in (given.d_output, given.d_last_h))  # fmt: skip
    d_bias, d_peephole, d_h0 = triton_lstm.backward(
        gates, d_gates, weight, peephole, c, d_output, d_last_h, d_c, to_start=given.h0 is not None
    )
    assert torch.equal(gates, values["gates"])  # backward only reads them
    gradients = {"product": d_gates, "bias": d_bias, "peephole": d_peephole, "c0": d_c}
    if given.h0 is None:
        assert d_h0 is None
    else:
        gradients["h0"] = d_h0
    assert {each.dtype for name, each in gradients.items() if name != "product"} == {torch.float32}
    # W_h's own is one product after the loop, for the caller to make.
    gradients["weight"] = torch.einsum("rtbg,rtbh->rgh", d_gates.double(), h[:, :-1].double())
    return values, gradients


def assert_near(found, expected, bound):
    for name, each in found.items():
        scale = 1 + expected[name].abs().max()
        worst = (each.double() - expected[name]).abs().max() / scale
        assert worst <= bound, f"{name}: {worst:.2g} of its size"


SHAPES = [
    (1, 1, 1, 1),
    (1, 3, 1, 5),  # one sequence, odd units
    (1, 3, 5, 6),  # several programs each way, none of them full
    (1, 1, 3, 8),  # one step
    (2, 2, 3, 5),  # replicas
]


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_the_equations(shape):
    given = problem(*shape)
    for found, expected in zip(ours(given), reference(given), strict=True):
        assert_near(found, expected, FLOAT32_ERROR)


@settings(max_examples=6, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 7)),
    without=st.sets(st.sampled_from(["product", "h0", "d_output", "d_last_h"])),
    weights=st.sampled_from([0.01, 1.0, 4.0]),  # 4: gates at both ends of their ranges
    seed=st.integers(0, 2**31),
)
@example(shape=(2, 2, 3, 5), without={"product", "h0"}, weights=1.0, seed=0)
@example(shape=(1, 3, 2, 5), without={"d_output", "d_last_h"}, weights=1.0, seed=0)
def test_any_shape_gives_what_the_equations_give(shape, without, weights, seed):
    given = problem(*shape, without=tuple(without), seed=seed, weights=weights)
    for found, expected in zip(ours(given), reference(given), strict=True):
        assert_near(found, expected, 10 * max(1, weights) * FLOAT32_ERROR)


def bounds_of_rounding(given, values):
    """Give how far h and c can be off, step by step, where the products' inputs and outputs alone are rounded to bfloat16.

    A pre-activation is rounded once when it is stored, and where the product is made and added in two steps twice; h once,
    as the product reads it. Errors then pass through the equations: a sigmoid lets a quarter through at most, a tanh all.
    """
    bounds = [(torch.zeros_like(given.c0), torch.zeros_like(given.c0))]
    for step in range(given.steps):
        h, c, c_new = values["h"][:, step], values["c"][:, step], values["c"][:, step + 1]
        (off_h, off_c), peephole = bounds[-1], given.peephole.abs()[:, :, None]
        i, f, g, o = values["gates"][:, step].split(h.shape[2], 2)
        from_h = torch.einsum("rgh,rbh->rbg", given.weight, h).abs()
        size = from_h + (0 if given.product is None else given.product[:, step].abs())
        off = torch.einsum("rgh,rbh->rbg", given.weight.abs(), off_h + HALF_ULP * h.abs())
        off_i, off_f, off_g, off_o = (off + 2 * HALF_ULP * size).split(h.shape[2], 2)
        off_i, off_f = (off_i + peephole[:, 0] * off_c) / 4, (off_f + peephole[:, 1] * off_c) / 4
        new_c = f * off_c + c.abs() * off_f + i * off_g + g.abs() * off_i
        new_c = new_c + off_f * off_c + off_i * off_g
        off_o = (off_o + peephole[:, 2] * new_c) / 4
        bounds.append((o * new_c + c_new.tanh().abs() * off_o + off_o * new_c, new_c))
    return bounds


@pytest.mark.parametrize("without", [(), ("product",), ("h0",)])
@pytest.mark.parametrize("shape", [(1, 4, 3, 5), (2, 3, 2, 6)])
def test_bfloat16_is_off_by_no_more_than_what_rounding_explains(shape, without):
    given = problem(*shape, without=without, dtype=torch.bfloat16)
    (values, gradients), (expected, d_expected) = ours(given, torch.bfloat16), reference(given)
    assert {name: each.dtype for name, each in values.items()} == {
        "h": torch.float32, "c": torch.float32, "gates": torch.bfloat16,
    }  # fmt: skip
    for step, (off_h, off_c) in enumerate(bounds_of_rounding(given, expected)):
        for name, bound in (("h", off_h), ("c", off_c)):
            off = (values[name][:, step].double() - expected[name][:, step]).abs()
            assert (off <= 1.05 * bound + FLOAT32_ERROR).all(), f"{name} after {step} steps"
    # Backward, a gradient meets three rounded activations, is rounded itself, and so is what it hands on: five roundings a
    # step, which add up over the steps at worst.
    allowed = 5 * given.steps * HALF_ULP
    for name, each in gradients.items():
        off = (each.double() - d_expected[name]).norm() / d_expected[name].norm()
        assert off <= allowed, f"{name}: {off:.3g} of its norm, {allowed:.3g} allowed"


def test_the_cell_is_never_rounded_to_the_dtype_of_the_products():
    given = problem(1, 5, 2, 6, without=("product",), dtype=torch.bfloat16, weights=0.0)
    values, _ = ours(given, torch.bfloat16)
    expected, _ = reference(given)
    # Without weights nothing goes through bfloat16 on its way to the state.
    assert_near({"c": values["c"], "h": values["h"]}, {"c": expected["c"], "h": expected["h"]}, FLOAT32_ERROR)  # fmt: skip


def test_gradients_may_be_written_over_the_activations():
    given = problem(2, 2, 3, 5)
    values, gradients = ours(given)
    both, d_c = values["gates"], given.d_last_c.float()
    d_bias, d_peephole, d_h0 = triton_lstm.backward(
        both, both, given.weight.float(), given.peephole.float(), values["c"],
        given.d_output.float(), given.d_last_h.float(), d_c, to_start=True,
    )  # fmt: skip
    found = {"product": both, "bias": d_bias, "peephole": d_peephole, "h0": d_h0, "c0": d_c}
    for name, each in found.items():
        assert torch.equal(each, gradients[name]), name


def test_replicas_know_nothing_of_one_another():
    given = problem(3, 2, 2, 5)
    together = ours(given)
    for replica in range(3):
        tensors = [name for name in Problem.__dataclass_fields__ if name != "steps"]
        cut = {name: getattr(given, name)[replica : replica + 1] for name in tensors}
        one = replace(given, **cut)
        for found, alone in zip(together, ours(one), strict=True):
            for name, each in alone.items():
                # Other products (batched or not), so equal to rounding.
                assert torch.allclose(found[name][replica], each[0], rtol=1e-5, atol=1e-6), name


def trained(name, layers, frames_TBD, state, autocast):
    """Give outputs, states and the gradients of all parameters, of one step of training by an implementation."""
    with fused_lstm.use(name), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        h_TBH, last = layers(frames_TBD, state, steps=3)
        answers = [h_TBH, *(each for pair in last for each in pair)]
        sum((each * torch.cos(each)).sum() for each in answers).backward()
    return [each.detach() for each in answers] + [each.grad for each in layers.parameters()]


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("inputs", [None, 4])
def test_layers_of_it_train_as_the_plain_ones_do(inputs, autocast):
    layers = StackedLSTM(inputs, 6, 2)
    for parameter in layers.parameters():
        torch.nn.init.uniform_(parameter, -0.4, 0.4)
    frames_TBD = None if inputs is None else torch.randn(3, 3, inputs)
    state = None if inputs else [LSTMState(torch.randn(3, 6), torch.randn(3, 6)) for _ in range(2)]
    found, plain, double = (
        trained(name, copy.deepcopy(layers).to(dtype), *as_dtype(dtype, frames_TBD, state), lower)
        for name, dtype, lower in (
            ("triton", torch.float32, autocast),
            ("plain", torch.float32, autocast),
            ("plain", torch.float64, False),
        )
    )
    for one, other, exact in zip(found, plain, double, strict=True):
        assert one.dtype == other.dtype
        off, off_plain = ((each.double() - exact).norm() / exact.norm() for each in (one, other))
        # Both round what the products read and give; this one also the activations that it saves.
        assert off <= off_plain + (HALF_ULP if autocast else FLOAT32_ERROR)


def as_dtype(dtype, frames_TBD, state):
    return (
        None if frames_TBD is None else frames_TBD.to(dtype),
        None
        if state is None
        else [LSTMState(*(each.to(dtype) for each in pair)) for pair in state],
    )


def test_it_is_chosen_by_name_and_refused_in_words(monkeypatch):
    state = torch.zeros(1)
    with fused_lstm.use("triton"):
        assert fused_lstm.chosen(state) == "triton"
        with pytest.raises(ValueError, match=r"float32, not of torch\.float64"):
            fused_lstm.chosen(state.double())
    assert fused_lstm.chosen(state) != "triton"  # an interpreter is nobody's fastest
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    triton_lstm.why_not.cache_clear()
    with fused_lstm.use("triton"), pytest.raises(ValueError, match="run on a GPU, not on cpu"):
        fused_lstm.chosen(state)
    triton_lstm.why_not.cache_clear()


def test_tanh_is_right_to_three_units_in_the_last_place():
    @triton.jit
    def kernel(x, y, COUNT: tl.constexpr):
        at = tl.arange(0, COUNT)
        tl.store(y + at, triton_kernels.tanh(tl.load(x + at)))

    size = torch.logspace(-6, 1.5, 2048, base=10.0)
    x = torch.cat([size, -size])
    y = torch.empty_like(x)
    kernel[(1,)](x, y, COUNT=4096)
    exact = np.tanh(x.double().numpy())
    assert (np.abs(y.numpy() - exact) <= 3 * np.spacing(np.abs(exact).astype(np.float32))).all()


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("gates", lambda x: x.bfloat16(), "bfloat16"),
        ("c", lambda x: x.double(), "float64"),
        ("weight", lambda x: x[..., :-1], "the gates ask for"),
        ("peephole", lambda x: x.transpose(1, 2).contiguous(), "the gates ask for"),
        ("h", lambda x: x[:, 1:], "the gates ask for"),
        ("c", lambda x: x.expand(2, *x.shape[1:])[::2].mT.contiguous().mT, "not contiguous"),
    ],
)
def test_what_the_kernels_cannot_read_is_refused_in_words(name, spoil, words):
    R, T, B, H = 1, 2, 3, 4
    tensors = {
        "gates": torch.zeros(R, T, B, 4 * H),
        "weight": torch.zeros(R, 4 * H, H),
        "bias": torch.zeros(R, 4 * H),
        "peephole": torch.zeros(R, 3, H),
        "h": torch.zeros(R, T + 1, B, H),
        "c": torch.zeros(R, T + 1, B, H),
    }
    tensors[name] = spoil(tensors[name])
    with pytest.raises(ValueError, match=words):
        triton_lstm.forward(*tensors.values(), fresh=False, from_zero=False)


def test_kernels_that_disagree_with_torch_are_not_chosen(monkeypatch):
    cpu, tiny = torch.device("cpu"), (1, 3, 2, 5)  # the interpreter takes its time
    assert triton_lstm.disagreement(cpu, tiny) == ""

    def without_peepholes(gates, weight, bias, peephole, *rest, **options):
        return in_place_lstm.forward(gates, weight, bias, 0 * peephole, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(triton_lstm, "forward", without_peepholes)
        assert "give other numbers" in triton_lstm.disagreement(cpu, tiny)

    def low_is_wrong(gates, weight, bias, peephole, h, c, **options):
        triton_lstm_forward(gates, weight, bias, peephole, h, c, **options)
        if gates.dtype == torch.bfloat16:
            h[:, 2:] *= 1.3

    triton_lstm_forward = triton_lstm.forward
    with monkeypatch.context() as patched:
        patched.setattr(triton_lstm, "forward", low_is_wrong)
        assert "torch.bfloat16" in triton_lstm.disagreement(cpu, tiny)

    def broken(*_arguments, **_options):
        raise RuntimeError("no code for sm_999")

    monkeypatch.setattr(triton_lstm, "backward", broken)
    assert "kernels fail on it: RuntimeError: no code for sm_999" in triton_lstm.disagreement(
        cpu, tiny
    )
