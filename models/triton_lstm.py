"""A whole sequence of peephole LSTM steps on a GPU: matrix products by cuBLAS, all between them by one kernel a step.

The two passes over the steps, for the autograd function that owns the buffers. Forward, a step is h W_h^T, added to what
the step got from its input, and `forward_step`; backward, `backward_step` and a product with W_h. Nothing is allocated
between steps and the host never waits, so that a loop can be a CUDA graph (models/step_graphs.py).

Products are of the gates' dtype, 16 bits under autocast; cells, biases, peepholes and all sums are float32, and so is what
is computed of activations before they are rounded to be stored. CPU tensors work under Triton's interpreter alone
(TRITON_INTERPRET=1, set before Triton is first imported).

Letters: R replicas (models that differ in weights alone), T steps, B sequences, H units, G = 4H.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
import triton
from torch import Tensor

from models import triton_kernels as kernels
from models.step_graphs import Scratch, StepGraphs, addresses

BLOCK_B = 8
"""Sequences of a program: with 64 of 2048 units there are 128 programs, about one for every multiprocessor."""

BLOCK_H = 128
"""Units of a program, at most."""

NUMBERS_A_THREAD = 4
"""Of one tensor: 16 bytes of float32, 8 of 16 bits. With equal counts no thread needs another's numbers (but for sums)."""

LAUNCH_BOUND_FLOP = 2e10
"""Operations of a step's product below which graphs are used: 25 microseconds of an H100, about what two launches take."""

_graphs = StepGraphs()
_graphs_wanted = True


def forward(
    gates_RTBG: Tensor,
    weight_h_RGH: Tensor,
    bias_RG: Tensor,
    peephole_R3H: Tensor,
    h_RTBH: Tensor,
    c_RTBH: Tensor,
    *,
    fresh: bool,
    low_RTBH: Tensor | None = None,
) -> None:
    """Run all steps, in place.

    Args:
        gates_RTBG: W_x x of every step, without bias; overwritten with the activations i, f, tanh candidate, o.
        weight_h_RGH: Turned to the gates' dtype if it is of another.
        bias_RG: float32 or the gates' dtype.
        peephole_R3H: Rows w_ci, w_cf, w_co; likewise.
        h_RTBH: T + 1 steps, of which the first is the start and the rest is written. float32 or the gates' dtype.
        c_RTBH: Likewise; float32.
        fresh: There is nothing in gates_RTBG yet; the input's part is zero.
        low_RTBH: T + 1 steps of the gates' dtype, all written: h_RTBH in that dtype, which the gradient of W_h needs, at no
            cost where the products need it anyway.

    Raises:
        ValueError: Shapes disagree, a tensor is not contiguous or of a dtype that cannot be here.
    """
    R, T, B, G = gates_RTBG.shape
    H = G // 4
    lowered = h_RTBH.dtype != gates_RTBG.dtype
    _check(gates_RTBG, "gates_RTBG", (R, T, B, 4 * H))
    _check(bias_RG, "bias_RG", (R, G))
    _check(peephole_R3H, "peephole_R3H", (R, 3, H))
    _check(weight_h_RGH, "weight_h_RGH", (R, G, H))
    _check(h_RTBH, "h_RTBH", (R, T + 1, B, H))
    _check(c_RTBH, "c_RTBH", (R, T + 1, B, H))
    if low_RTBH is not None:
        _check(low_RTBH, "low_RTBH", (R, T + 1, B, H))
        if low_RTBH.dtype != gates_RTBG.dtype:
            raise ValueError(f"low_RTBH is {low_RTBH.dtype} beside gates of {gates_RTBG.dtype}: it is to hold what the products read")  # fmt: skip
    weight_h_RGH = weight_h_RGH.to(gates_RTBG.dtype)
    grid, blocks = _grid(R, B, H)

    def make_scratch() -> Scratch:
        if low_RTBH is not None or not lowered:
            return ()
        return (gates_RTBG.new_empty(R, 1, B, H),)

    def launches(scratch: Scratch) -> None:
        weight_RHG = weight_h_RGH.transpose(1, 2)
        gates = gates_RTBG.unbind(1)
        low = low_RTBH if low_RTBH is not None else scratch[0] if scratch else h_RTBH
        writes_low = low is not h_RTBH
        steps_of_low = low.shape[1] > 1
        before = low.unbind(1) if steps_of_low else low.unbind(1) * T
        if writes_low:
            before[0].copy_(h_RTBH[:, 0])
        for step in range(T):
            _product(before[step], weight_RHG, gates[step], add=not fresh)
            kernels.forward_step[grid](
                gates_RTBG, bias_RG, peephole_R3H, h_RTBH, c_RTBH, low, step, T, B, H,
                LOW=writes_low, LOW_STEPS=steps_of_low, **blocks,
            )  # fmt: skip

    tensors = [gates_RTBG, weight_h_RGH, bias_RG, peephole_R3H, h_RTBH, c_RTBH]
    if low_RTBH is not None:
        tensors.append(low_RTBH)
    with _device(gates_RTBG):
        if _as_graph(gates_RTBG):
            _graphs.run(_key("forward", fresh, tensors), make_scratch, launches)
        else:
            launches(make_scratch())


def backward(
    gates_RTBG: Tensor,
    d_gates_RTBG: Tensor,
    weight_h_RGH: Tensor,
    peephole_R3H: Tensor,
    c_RTBH: Tensor,
    d_h_RTBH: Tensor,
    d_h_RBH: Tensor,
    d_c_RBH: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run all steps backward.

    Two runs give the same bits: nothing is added up in an order that could change.

    Args:
        gates_RTBG: Activations, as `forward` left them.
        d_gates_RTBG: Written: the gradients of the pre-activations, and so of W_x x. May be gates_RTBG itself, whose
            activations are then lost.
        weight_h_RGH: As in `forward`.
        peephole_R3H: As in `forward`.
        c_RTBH: T + 1 cells, as `forward` left them.
        d_h_RTBH: Gradients of every step's output, T steps.
        d_h_RBH: Gradient of the last output as a state.
        d_c_RBH: Gradient of the last cell.

    Returns:
        d_bias_RG, d_peephole_R3H, d_h0_RBH, d_c0_RBH, float32. None is a buffer that a later call writes to.

    Raises:
        ValueError: As `forward`.
    """
    R, T, B, G = gates_RTBG.shape
    H = G // 4
    # Gradients come as autograd made them, perhaps as one number that is looked at as many.
    d_h_RTBH, d_h_RBH, d_c_RBH = (each.contiguous() for each in (d_h_RTBH, d_h_RBH, d_c_RBH))
    _check(gates_RTBG, "gates_RTBG", (R, T, B, 4 * H))
    _check(d_gates_RTBG, "d_gates_RTBG", (R, T, B, G))
    _check(weight_h_RGH, "weight_h_RGH", (R, G, H))
    _check(peephole_R3H, "peephole_R3H", (R, 3, H))
    _check(c_RTBH, "c_RTBH", (R, T + 1, B, H))
    _check(d_h_RTBH, "d_h_RTBH", (R, T, B, H))
    _check(d_h_RBH, "d_h_RBH", (R, B, H))
    _check(d_c_RBH, "d_c_RBH", (R, B, H))
    if d_gates_RTBG.dtype != gates_RTBG.dtype:
        raise ValueError(f"d_gates_RTBG is {d_gates_RTBG.dtype} beside gates of {gates_RTBG.dtype}: make them equal")  # fmt: skip
    weight_h_RGH = weight_h_RGH.to(gates_RTBG.dtype)
    grid, blocks = _grid(R, B, H)

    def make_scratch() -> Scratch:
        sums_RP7H = c_RTBH.new_empty(R, grid[1], 7, H, dtype=torch.float32)
        d_before_h_RBH = gates_RTBG.new_empty(
            R, B, H
        )  # of 16 bits, as W_h's and the gates' product is without this
        d_before_c_RBH = c_RTBH.new_empty(R, B, H, dtype=torch.float32)
        return sums_RP7H, d_before_h_RBH, d_before_c_RBH

    def launches(scratch: Scratch) -> None:
        sums_RP7H, d_before_h_RBH, d_before_c_RBH = scratch
        d_gates = d_gates_RTBG.unbind(1)
        d_next_h_RBH, d_next_c_RBH = d_h_RBH, d_c_RBH
        for step in reversed(range(T)):
            kernels.backward_step[grid](
                gates_RTBG, d_gates_RTBG, peephole_R3H, c_RTBH, d_h_RTBH, d_next_h_RBH, d_next_c_RBH,
                d_before_c_RBH, sums_RP7H, step, T, B, H,
                LAST=step == T - 1, **blocks,
            )  # fmt: skip
            _product(d_gates[step], weight_h_RGH, d_before_h_RBH, add=False)
            d_next_h_RBH, d_next_c_RBH = d_before_h_RBH, d_before_c_RBH

    tensors = (gates_RTBG, d_gates_RTBG, weight_h_RGH, peephole_R3H, c_RTBH, d_h_RTBH, d_h_RBH, d_c_RBH)  # fmt: skip
    with _device(gates_RTBG):
        if _as_graph(gates_RTBG):
            scratch = _graphs.run(_key("backward", False, tensors), make_scratch, launches)
        else:
            scratch = make_scratch()
            launches(scratch)
        sums_R7H = scratch[0].sum(1)
        # Copies, because a graph keeps its scratch space.
        d_h0_RBH, d_c0_RBH = (each.to(torch.float32, copy=True) for each in scratch[1:])
    return sums_R7H[:, :4].reshape(R, G), sums_R7H[:, 4:].contiguous(), d_h0_RBH, d_c0_RBH


@contextmanager
def graphs(wanted: bool) -> Iterator[None]:
    """Use CUDA graphs inside this block where launching is the bottleneck, or not at all; all are forgotten afterwards."""
    global _graphs_wanted  # noqa: PLW0603
    before = _graphs_wanted
    _graphs_wanted = wanted
    try:
        yield
    finally:
        _graphs_wanted = before
        _graphs.clear()


def _product(left_RBK: Tensor, right_RKN: Tensor, out_RBN: Tensor, *, add: bool) -> None:
    """Write left @ right, or add it. Of one replica without a batch of products, for which cuBLAS has fewer kernels."""
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


def _grid(R: int, B: int, H: int) -> tuple[tuple[int, int, int], dict[str, int]]:
    """Give the programs (units, sequences, replicas), and the size of one."""
    block_H = min(BLOCK_H, triton.next_power_of_2(H))
    warps = max(1, BLOCK_B * block_H // (32 * NUMBERS_A_THREAD))
    size = {"BLOCK_B": BLOCK_B, "BLOCK_H": block_H, "num_warps": warps}
    return (-(-H // block_H), -(-B // BLOCK_B), R), size


def _as_graph(gates_RTBG: Tensor) -> bool:
    R, _, B, G = gates_RTBG.shape
    return (
        _graphs_wanted
        and gates_RTBG.is_cuda
        and not triton.knobs.runtime.interpret
        and 2 * R * B * G * (G // 4) <= LAUNCH_BOUND_FLOP
        # Somebody else may be recording, and then gets the launches.
        and not torch.cuda.is_current_stream_capturing()
    )


def _key(name: str, fresh: bool, tensors: Sequence[Tensor]) -> Hashable:
    """All that a loop's launches depend on; the precision of float32 products is a choice made when recording, too."""
    device = tensors[0].device
    stream = torch.cuda.current_stream(device).cuda_stream
    precision = torch.get_float32_matmul_precision()
    return name, fresh, device, stream, precision, addresses(tensors)


def _device(tensor: Tensor) -> torch.cuda.device | nullcontext[None]:
    """Give the context in which kernels go to the tensor's device: Triton launches on the current one."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _check(tensor: Tensor, name: str, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise ValueError(f"{name} is of shape {tuple(tensor.shape)}, but the gates ask for {shape}")
    if not tensor.is_contiguous():
        raise ValueError(f"{name} is not contiguous, as the kernels take it to be: pass .contiguous()")  # fmt: skip
    if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"{name} is {tensor.dtype}, but the kernels compute in float32: use torch's loop for other dtypes")  # fmt: skip
