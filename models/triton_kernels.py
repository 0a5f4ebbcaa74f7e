"""Triton kernels of one LSTM step: all that is not a matrix product, forward and backward.

A kernel reads the pre-activations of a step and the cell, and writes the activations over them, the new cell and the
new output; or, backward, their gradients. Numbers are read in whatever dtype they are stored, computed in float32, and
rounded once, when stored. Equations: models/lstm.py; who calls these, and the products between them: models/triton_lstm.py.

Letters: R replicas, T steps, B sequences, H units, G = 4H with the blocks i, f, candidate, o. A program has BLOCK_B
sequences and BLOCK_H units of one replica: program ids (units, sequences, replica). Every tensor is contiguous.
"""

# No `from __future__ import annotations`: Triton reads the annotations.
import triton
import triton.language as tl

INTERPRETED: bool = triton.knobs.runtime.interpret
"""Whether the kernels run on the CPU, in Python: what Triton was told when this module was imported."""


@triton.jit  # type: ignore[untyped-decorator]  # Triton ships no types
def sigmoid(x: tl.tensor) -> tl.tensor:
    """1 / (1 + exp(-x)), by an exponential that cannot overflow."""
    small = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, small) / (1.0 + small)


@triton.jit  # type: ignore[untyped-decorator]
def tanh(x: tl.tensor) -> tl.tensor:
    """Hyperbolic tangent to 3 units in float32's last place, near zero too.

    Below 1/2, where the exponentials would cancel, x + x^3 p(x^2): p interpolates (tanh(x) / x - 1) / x^2 at the five
    Chebyshev nodes of 0 <= x^2 <= 1/4.
    """
    size = tl.abs(x)
    small = tl.exp(-2.0 * size)
    large = (1.0 - small) / (1.0 + small)
    square = x * x
    series = -0.00694294175
    series = series * square + 0.021470683
    series = series * square - 0.0539334691
    series = series * square + 0.133332258
    series = series * square - 0.333333328
    return tl.where(size < 0.5, x + x * square * series, tl.where(x < 0, -large, large))


@triton.jit(do_not_specialize=["step"])  # type: ignore[untyped-decorator]
def forward_step(
    gates_RTBG: tl.tensor,
    bias_RG: tl.tensor,
    peephole_R3H: tl.tensor,
    h_RTBH: tl.tensor,
    c_RTBH: tl.tensor,
    low_RBH: tl.tensor,
    step: int,
    T: int,
    B: int,
    H: int,
    LOW: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_H: tl.constexpr,
) -> None:
    """Turn W_x x + W_h h of step `step` into activations, in place, and write the next cell and output.

    h_RTBH and c_RTBH have T + 1 steps, of which step + 1 is written. Where LOW, the output also goes to low_RBH, in its
    dtype, for the next product.
    """
    unit_H = tl.program_id(0) * BLOCK_H + tl.arange(0, BLOCK_H)
    row_B = tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B)
    replica = tl.program_id(2).to(tl.int64)  # whole tensors can have more than 2^31 numbers
    units = unit_H < H
    inside = (row_B < B)[:, None] & units[None, :]
    cell_BH = row_B[:, None] * H + unit_H[None, :]

    gates = gates_RTBG + (replica * T + step) * B * 4 * H
    gate_BH = row_B[:, None] * 4 * H + unit_H[None, :]
    bias = bias_RG + replica * 4 * H + unit_H
    peephole = peephole_R3H + replica * 3 * H + unit_H
    before = (replica * (T + 1) + step) * B * H
    after = before + B * H

    c_BH = tl.load(c_RTBH + before + cell_BH, inside, 0.0)
    i_BH = tl.load(gates + gate_BH, inside, 0.0).to(tl.float32)
    f_BH = tl.load(gates + H + gate_BH, inside, 0.0).to(tl.float32)
    g_BH = tl.load(gates + 2 * H + gate_BH, inside, 0.0).to(tl.float32)
    o_BH = tl.load(gates + 3 * H + gate_BH, inside, 0.0).to(tl.float32)
    i_BH += tl.load(bias, units, 0.0)[None, :]
    f_BH += tl.load(bias + H, units, 0.0)[None, :]
    g_BH += tl.load(bias + 2 * H, units, 0.0)[None, :]
    o_BH += tl.load(bias + 3 * H, units, 0.0)[None, :]

    i_BH = sigmoid(i_BH + tl.load(peephole, units, 0.0)[None, :] * c_BH)
    f_BH = sigmoid(f_BH + tl.load(peephole + H, units, 0.0)[None, :] * c_BH)
    g_BH = tanh(g_BH)
    c_BH = f_BH * c_BH + i_BH * g_BH
    o_BH = sigmoid(o_BH + tl.load(peephole + 2 * H, units, 0.0)[None, :] * c_BH)
    h_BH = o_BH * tanh(c_BH)

    tl.store(gates + gate_BH, i_BH, inside)
    tl.store(gates + H + gate_BH, f_BH, inside)
    tl.store(gates + 2 * H + gate_BH, g_BH, inside)
    tl.store(gates + 3 * H + gate_BH, o_BH, inside)
    tl.store(c_RTBH + after + cell_BH, c_BH, inside)
    tl.store(h_RTBH + after + cell_BH, h_BH, inside)
    if LOW:
        tl.store(low_RBH + replica * B * H + cell_BH, h_BH, inside)


@triton.jit(do_not_specialize=["step"])  # type: ignore[untyped-decorator]
def backward_step(
    gates_RTBG: tl.tensor,
    d_gates_RTBG: tl.tensor,
    peephole_R3H: tl.tensor,
    c_RTBH: tl.tensor,
    d_output_RTBH: tl.tensor,
    d_next_h_RBH: tl.tensor,
    d_c_RBH: tl.tensor,
    sums_RP7H: tl.tensor,
    step: int,
    T: int,
    B: int,
    H: int,
    LAST: tl.constexpr,
    OUTPUT: tl.constexpr,
    NEXT: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_H: tl.constexpr,
) -> None:
    """Turn the gradients of a step's output and cell into those of its pre-activations and of the cell before.

    d_output_RTBH has T steps; without OUTPUT it is not looked at, and nor is d_next_h_RBH without NEXT: what the step's
    output gets from the step after, or, at the last, from the state that was returned. d_c_RBH holds the same of the cell,
    and takes the gradient of the cell before. A program adds its sequences' part of the gradients of the biases (four rows)
    and of the peepholes (three) to its own place in sums_RP7H, P places over the sequences, always in the same order: so
    no two runs differ.
    LAST: the first step to be worked on, the last in time, which writes the sums instead of adding to them.
    """
    unit_H = tl.program_id(0) * BLOCK_H + tl.arange(0, BLOCK_H)
    row_B = tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B)
    replica = tl.program_id(2).to(tl.int64)
    units = unit_H < H
    inside = (row_B < B)[:, None] & units[None, :]
    cell_BH = row_B[:, None] * H + unit_H[None, :]

    of_step = replica * T + step
    gates = gates_RTBG + of_step * B * 4 * H
    d_gates = d_gates_RTBG + of_step * B * 4 * H
    gate_BH = row_B[:, None] * 4 * H + unit_H[None, :]
    peephole = peephole_R3H + replica * 3 * H + unit_H
    before = (replica * (T + 1) + step) * B * H
    state_BH = replica * B * H + cell_BH

    i_BH = tl.load(gates + gate_BH, inside, 0.0).to(tl.float32)
    f_BH = tl.load(gates + H + gate_BH, inside, 0.0).to(tl.float32)
    g_BH = tl.load(gates + 2 * H + gate_BH, inside, 0.0).to(tl.float32)
    o_BH = tl.load(gates + 3 * H + gate_BH, inside, 0.0).to(tl.float32)
    c_before_BH = tl.load(c_RTBH + before + cell_BH, inside, 0.0)
    c_BH = tl.load(c_RTBH + before + B * H + cell_BH, inside, 0.0)
    d_h_BH = tl.zeros((BLOCK_B, BLOCK_H), tl.float32)
    if OUTPUT:
        d_h_BH += tl.load(d_output_RTBH + of_step * B * H + cell_BH, inside, 0.0)
    if NEXT:
        d_h_BH += tl.load(d_next_h_RBH + state_BH, inside, 0.0).to(tl.float32)
    d_c_BH = tl.load(d_c_RBH + state_BH, inside, 0.0)

    tanh_c_BH = tanh(c_BH)
    d_o_BH = d_h_BH * tanh_c_BH * o_BH * (1.0 - o_BH)
    d_c_BH += d_h_BH * o_BH * (1.0 - tanh_c_BH * tanh_c_BH)
    d_c_BH += d_o_BH * tl.load(peephole + 2 * H, units, 0.0)[None, :]
    d_i_BH = d_c_BH * g_BH * i_BH * (1.0 - i_BH)
    d_f_BH = d_c_BH * c_before_BH * f_BH * (1.0 - f_BH)
    d_g_BH = d_c_BH * i_BH * (1.0 - g_BH * g_BH)
    d_c_BH = d_c_BH * f_BH
    d_c_BH += d_i_BH * tl.load(peephole, units, 0.0)[None, :]
    d_c_BH += d_f_BH * tl.load(peephole + H, units, 0.0)[None, :]

    tl.store(d_gates + gate_BH, d_i_BH, inside)
    tl.store(d_gates + H + gate_BH, d_f_BH, inside)
    tl.store(d_gates + 2 * H + gate_BH, d_g_BH, inside)
    tl.store(d_gates + 3 * H + gate_BH, d_o_BH, inside)
    tl.store(d_c_RBH + state_BH, d_c_BH, inside)

    # Sequences past the last were read as zeros, gradients too: they add nothing.
    places = tl.num_programs(1)
    sums = sums_RP7H + (replica * places + tl.program_id(1)) * 7 * H + unit_H
    # One reduction of seven, since each reduction makes the program's threads wait for one another.
    i_H, f_H, g_H, o_H, peep_i_H, peep_f_H, peep_o_H = tl.reduce(
        (d_i_BH, d_f_BH, d_g_BH, d_o_BH, d_i_BH * c_before_BH, d_f_BH * c_before_BH, d_o_BH * c_BH),
        0,
        add_seven,
    )
    add_sum(sums, i_H, units, LAST)
    add_sum(sums + H, f_H, units, LAST)
    add_sum(sums + 2 * H, g_H, units, LAST)
    add_sum(sums + 3 * H, o_H, units, LAST)
    add_sum(sums + 4 * H, peep_i_H, units, LAST)
    add_sum(sums + 5 * H, peep_f_H, units, LAST)
    add_sum(sums + 6 * H, peep_o_H, units, LAST)


@triton.jit  # type: ignore[untyped-decorator]
def add_seven(
    a0: tl.tensor, a1: tl.tensor, a2: tl.tensor, a3: tl.tensor, a4: tl.tensor, a5: tl.tensor, a6: tl.tensor,
    b0: tl.tensor, b1: tl.tensor, b2: tl.tensor, b3: tl.tensor, b4: tl.tensor, b5: tl.tensor, b6: tl.tensor,
) -> tuple[tl.tensor, ...]:  # fmt: skip
    """Add two sevens number by number."""
    return a0 + b0, a1 + b1, a2 + b2, a3 + b3, a4 + b4, a5 + b5, a6 + b6


@triton.jit  # type: ignore[untyped-decorator]
def add_sum(place: tl.tensor, sum_H: tl.tensor, units: tl.tensor, WRITE: tl.constexpr) -> None:
    """Add to what is stored, or write it where there is nothing yet."""
    if not WRITE:
        sum_H += tl.load(place, units, 0.0)
    tl.store(place, sum_H, units)
