"""The fused LSTM's steps on a GPU: matrix products by cuBLAS, all between them by one Triton kernel a step.

Forward, a step is h W_h^T, added to what the step got from its input, and the kernel `forward_step`; backward, the kernel
`backward_step` and a product with W_h. Nothing is allocated between steps and the host never waits, so that a loop can be
a CUDA graph (step_graphs.py).

The gates are of the products' dtype, 16 bits under autocast, from the input's product to the gradients that the products
of the backward pass read: no kernel turns them. Cells, outputs, biases, peepholes and all sums are float32, and so is
everything computed of activations before they are rounded to be stored.

CPU tensors work under Triton's interpreter alone (TRITON_INTERPRET=1, set before Triton is first imported). Letters as in
fused_lstm.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from models import in_place_lstm
from models.step_graphs import Scratch, StepGraphs, addresses

BLOCK_B = 8
"""Sequences of a program: with 64 of 2048 units there are 128 programs, about one for every multiprocessor."""

BLOCK_H = 128
"""Units of a program, at most."""

NUMBERS_A_THREAD = 4
"""Of one tensor: 16 bytes of float32, 8 of 16 bits. With equal counts no thread needs another's numbers (but for sums)."""

LAUNCH_BOUND_FLOP = 2e10
"""Operations of a step's product below which graphs are used: 25 microseconds of an H100, about what two launches take."""

GATES_OF_PRODUCTS = True

OLDEST = (8, 0)
"""Compute capability of the first GPUs that multiply bfloat16."""

_graphs = StepGraphs()
_graphs_wanted = False
"""Off until tests/benchmarks/lstm_on_gpu.py has seen graphs give the launches' bits on a GPU."""


@cache
def why_not(device: torch.device) -> str:
    """Why the kernels cannot run on this device, in a clause; empty if they can."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return ""
    if device.type != "cuda":
        return f"Triton's kernels run on a GPU, not on {device.type}, unless TRITON_INTERPRET=1"
    if (found := torch.cuda.get_device_capability(device)) < OLDEST:
        name = torch.cuda.get_device_name(device)
        return f"{name} is of compute capability {found}, before {OLDEST}"
    return disagreement(device)


def disagreement(device: torch.device, shape: tuple[int, int, int, int] = (2, 3, 11, 140)) -> str:
    """Why the kernels are not to be trusted on this device, in a clause; empty if a small layer has torch's numbers.

    A GPU, driver or Triton on which they compile to something else, or not at all, must not give wrong results. Of
    `shape` (R, T, B, H) more than one program works along each axis.
    """
    source = torch.Generator().manual_seed(0)
    for products in (torch.float32, torch.bfloat16):
        for fresh in (False, True):
            if reason := _disagreement(device, products, source, shape, fresh=fresh):
                return reason
    return ""


def _disagreement(
    device: torch.device,
    products: torch.dtype,
    source: torch.Generator,
    shape: tuple[int, int, int, int],
    *,
    fresh: bool,
) -> str:
    """The same for one of the kernels' variants: by the products' dtype, and by whether there are inputs and a start."""
    R, T, B, H = shape

    def drawn(*shape: int) -> Tensor:
        return (torch.rand(shape, generator=source) - 0.5).to(device)

    gates_RTBG, weight_h_RGH, d_output_RTBH = drawn(R, T, B, 4 * H), 0.1 * drawn(R, 4 * H, H), drawn(R, T, B, H)  # fmt: skip
    bias_RG, peephole_R3H, states = drawn(R, 4 * H), drawn(R, 3, H), drawn(2, R, T + 1, B, H)
    if fresh:
        states[:, :, 0] = 0

    def answers(
        forward: Callable[..., None], backward: Callable[..., Any], lower: torch.dtype
    ) -> list[Tensor]:
        gates, weight_h, (h_RTBH, c_RTBH) = gates_RTBG.to(lower, copy=True), weight_h_RGH.to(lower), states.clone()  # fmt: skip
        forward(
            gates, weight_h, bias_RG, peephole_R3H, h_RTBH, c_RTBH, fresh=fresh, from_zero=fresh
        )
        d_gates, d_c_RBH = torch.empty_like(gates), c_RTBH[:, 0].clone()
        sums = backward(
            gates, d_gates, weight_h, peephole_R3H, c_RTBH, d_output_RTBH, h_RTBH[:, 1].contiguous(), d_c_RBH,
            to_start=True,
        )  # fmt: skip
        return [each.float() for each in (gates, h_RTBH, c_RTBH, d_gates, d_c_RBH, *sums)]

    try:
        ours = answers(forward, backward, products)
    except Exception as error:  # noqa: BLE001 - whatever a compiler or driver can answer
        return f"Triton's kernels fail on it: {type(error).__name__}: {str(error).strip()[:200]}"
    # TF32 products, where a user allows them, are of 2^-11; bfloat16 rounds to 2^-9, some times over three steps.
    bound = 1e-2 if products == torch.float32 else 5e-2
    torchs = answers(in_place_lstm.forward, in_place_lstm.backward, torch.float32)
    for mine, theirs in zip(ours, torchs, strict=True):
        if not (mine - theirs).norm() <= bound * theirs.norm():
            return (
                f"Triton's kernels give other numbers on it than torch's operations, in {products}"
            )
    return ""


def supports(dtype: torch.dtype) -> bool:
    """Whether the steps can be of this dtype of the state."""
    return dtype == torch.float32


def forward(
    gates_RTBG: Tensor,
    weight_h_RGH: Tensor,
    bias_RG: Tensor,
    peephole_R3H: Tensor,
    h_RTBH: Tensor,
    c_RTBH: Tensor,
    *,
    fresh: bool,
    from_zero: bool,
) -> None:
    """Run all steps; arguments as in fused_lstm.Backend, and gates_RTBG in the weights' dtype.

    Raises:
        ValueError: Shapes or dtypes disagree, or a tensor is not contiguous.
    """
    R, T, B, G = gates_RTBG.shape
    H = G // 4
    state = torch.float32
    _check(gates_RTBG, "gates_RTBG", (R, T, B, 4 * H), weight_h_RGH.dtype)
    _check(weight_h_RGH, "weight_h_RGH", (R, G, H), weight_h_RGH.dtype)
    _check(bias_RG, "bias_RG", (R, G), state)
    _check(peephole_R3H, "peephole_R3H", (R, 3, H), state)
    _check(h_RTBH, "h_RTBH", (R, T + 1, B, H), state)
    _check(c_RTBH, "c_RTBH", (R, T + 1, B, H), state)
    lowered = weight_h_RGH.dtype != state
    step_kernel, (grid, size) = _kernels().forward_step, _programs(R, B, H)

    def make_scratch() -> Scratch:
        return (gates_RTBG.new_empty(R, B, H),) if lowered else ()

    def launches(scratch: Scratch) -> None:
        weight_RHG = weight_h_RGH.transpose(1, 2)
        gates = gates_RTBG.unbind(1)
        # The kernel writes its output in the products' dtype, too, where the next product reads it.
        low = scratch[0] if lowered else h_RTBH
        before = (low,) * T if lowered else h_RTBH.unbind(1)
        if lowered and not from_zero:
            low.copy_(h_RTBH[:, 0])
        for step in range(T):
            if step or not from_zero:
                _product(before[step], weight_RHG, gates[step], add=not fresh)
            elif fresh:
                gates[0].zero_()
            step_kernel[grid](
                gates_RTBG, bias_RG, peephole_R3H, h_RTBH, c_RTBH, low, step, T, B, H, LOW=lowered, **size
            )  # fmt: skip

    tensors = (gates_RTBG, weight_h_RGH, bias_RG, peephole_R3H, h_RTBH, c_RTBH)
    _run(("forward", fresh, from_zero), tensors, make_scratch, launches)


def backward(
    gates_RTBG: Tensor,
    d_gates_RTBG: Tensor,
    weight_h_RGH: Tensor,
    peephole_R3H: Tensor,
    c_RTBH: Tensor,
    d_output_RTBH: Tensor | None,
    d_h_RBH: Tensor | None,
    d_c_RBH: Tensor,
    *,
    to_start: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run all steps backwards; arguments as in fused_lstm.Backend, d_gates_RTBG in the gates' dtype.

    Two runs give the same bits: nothing is added up in an order that could change. d_gates_RTBG may be gates_RTBG itself,
    whose activations are then lost. No answer is memory that a later call writes to.

    Raises:
        ValueError: As `forward`.
    """
    R, T, B, G = gates_RTBG.shape
    H = G // 4
    state = torch.float32
    _check(gates_RTBG, "gates_RTBG", (R, T, B, 4 * H), weight_h_RGH.dtype)
    _check(d_gates_RTBG, "d_gates_RTBG", (R, T, B, G), weight_h_RGH.dtype)
    _check(weight_h_RGH, "weight_h_RGH", (R, G, H), weight_h_RGH.dtype)
    _check(peephole_R3H, "peephole_R3H", (R, 3, H), state)
    _check(c_RTBH, "c_RTBH", (R, T + 1, B, H), state)
    if d_output_RTBH is not None:
        _check(d_output_RTBH, "d_output_RTBH", (R, T, B, H), state)
    if d_h_RBH is not None:
        _check(d_h_RBH, "d_h_RBH", (R, B, H), state)
    _check(d_c_RBH, "d_c_RBH", (R, B, H), state)
    step_kernel, (grid, size) = _kernels().backward_step, _programs(R, B, H)

    def make_scratch() -> Scratch:
        sums_RP7H = c_RTBH.new_empty(R, grid[1], 7, H)
        d_before_h_RBH = gates_RTBG.new_empty(R, B, H)
        return sums_RP7H, d_before_h_RBH

    def launches(scratch: Scratch) -> None:
        sums_RP7H, d_before_h_RBH = scratch
        d_gates, d_next_h_RBH = d_gates_RTBG.unbind(1), d_h_RBH
        for step in reversed(range(T)):
            step_kernel[grid](
                gates_RTBG, d_gates_RTBG, peephole_R3H, c_RTBH,
                c_RTBH if d_output_RTBH is None else d_output_RTBH,  # not looked at where there is none
                c_RTBH if d_next_h_RBH is None else d_next_h_RBH,
                d_c_RBH, sums_RP7H, step, T, B, H,
                LAST=step == T - 1, OUTPUT=d_output_RTBH is not None, NEXT=d_next_h_RBH is not None, **size,
            )  # fmt: skip
            if step or to_start:
                _product(d_gates[step], weight_h_RGH, d_before_h_RBH, add=False)
            d_next_h_RBH = d_before_h_RBH

    given = [each for each in (d_output_RTBH, d_h_RBH) if each is not None]
    which = (d_output_RTBH is not None, d_h_RBH is not None)
    tensors = (gates_RTBG, d_gates_RTBG, weight_h_RGH, peephole_R3H, c_RTBH, d_c_RBH, *given)
    sums_RP7H, d_start_RBH = _run(("backward", to_start, *which), tensors, make_scratch, launches)
    # Sums and a copy, because a graph keeps its scratch space.
    sums_R7H = sums_RP7H.sum(1)
    return (
        sums_R7H[:, :4].reshape(R, G),
        sums_R7H[:, 4:].contiguous(),
        d_start_RBH.to(state, copy=True) if to_start else None,
    )


@contextmanager
def graphs(wanted: bool) -> Iterator[StepGraphs]:
    """Use CUDA graphs inside this block where launching is the bottleneck, or not at all.

    Gives those that are kept; after the block all are forgotten.
    """
    global _graphs_wanted  # noqa: PLW0603
    before = _graphs_wanted
    _graphs_wanted = wanted
    try:
        yield _graphs
    finally:
        _graphs_wanted = before
        _graphs.clear()


@cache
def _kernels() -> ModuleType:
    """Import Triton when it is needed: a machine without a GPU may not have it."""
    from models import triton_kernels

    return triton_kernels


def _product(left_RBK: Tensor, right_RKN: Tensor, out_RBN: Tensor, *, add: bool) -> None:
    """Write left @ right, or add it. One replica's without a batch of products, for which cuBLAS has fewer kernels."""
    if len(left_RBK) == 1:
        left_BK, right_KN, out_BN = left_RBK[0], right_RKN[0], out_RBN[0]
        if add:
            out_BN.addmm_(left_BK, right_KN)
        else:
            torch.mm(left_BK, right_KN, out=out_BN)
    elif add:
        out_RBN.baddbmm_(left_RBK, right_RKN)
    else:
        torch.bmm(left_RBK, right_RKN, out=out_RBN)


def _programs(R: int, B: int, H: int) -> tuple[tuple[int, int, int], dict[str, int]]:
    """Give the programs (units, sequences, replicas), and the size of one."""
    block_H = min(BLOCK_H, 1 << (H - 1).bit_length())
    warps = max(1, BLOCK_B * block_H // (32 * NUMBERS_A_THREAD))
    size = {"BLOCK_B": BLOCK_B, "BLOCK_H": block_H, "num_warps": warps}
    return (-(-H // block_H), -(-B // BLOCK_B), R), size


def _run(
    kind: tuple[Hashable, ...],
    tensors: Sequence[Tensor],
    make_scratch: Callable[[], Scratch],
    launches: Callable[[Scratch], None],
) -> Scratch:
    """Launch a loop, or its graph, on the tensors' device."""
    device = tensors[0].device
    # Triton launches on the current device.
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        if not _as_graph(tensors[0]):
            scratch = make_scratch()
            launches(scratch)
            return scratch
        # All that the launches depend on; float32's precision in products is chosen when they are recorded.
        stream = torch.cuda.current_stream().cuda_stream
        precision = torch.backends.cuda.matmul.fp32_precision
        key = (*kind, device, stream, precision, addresses(tensors))
        return _graphs.run(key, make_scratch, launches)


def _as_graph(gates_RTBG: Tensor) -> bool:
    R, _, B, G = gates_RTBG.shape
    return (
        _graphs_wanted
        and gates_RTBG.is_cuda
        and not _kernels().INTERPRETED
        and 2 * R * B * G * (G // 4) <= LAUNCH_BOUND_FLOP
        # Somebody else may be recording, and then gets the launches.
        and not torch.cuda.is_current_stream_capturing()
    )


def _check(tensor: Tensor, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tensor.shape != shape:
        raise ValueError(f"{name} is of shape {tuple(tensor.shape)}, but the gates ask for {shape}")
    if tensor.dtype != dtype:
        raise ValueError(f"{name} is {tensor.dtype}, but has to be {dtype} here: turn it")
    if not tensor.is_contiguous():
        raise ValueError(f"{name} is not contiguous, as the kernels take it to be: pass .contiguous()")  # fmt: skip
