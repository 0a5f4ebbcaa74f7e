"""The fused LSTM's steps in torch's own operations, writing into what is there: for any device, and where nothing is compiled.

Letters as in fused_lstm.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.recurrent_product import Recurrent, RecurrentBack

GATES_OF_PRODUCTS = False  # computed where they are stored, so what the cell sees would be rounded

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input


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
    """Run all steps; arguments as in fused_lstm.Backend."""
    multiply = Recurrent(gates_RTBG, weight_h_RGH, h_RTBH, fresh=fresh)
    if fresh and from_zero:
        gates_RTBG[:, :1].zero_()
    i, f, candidate, o = (each.unbind(1) for each in gates_RTBG.chunk(4, dim=3))
    peep_i, peep_f, peep_o = peephole_R3H.unsqueeze(2).unbind(1)  # (R, 1, H) each
    bias_R1G = bias_RG.unsqueeze(1)
    gates, h, c = gates_RTBG.unbind(1), h_RTBH.unbind(1), c_RTBH.unbind(1)
    squashed_RBH = torch.empty_like(c[0])
    for step in range(gates_RTBG.shape[1]):
        if step or not from_zero:
            multiply(step)
        gates[step].add_(bias_R1G)
        i[step].addcmul_(c[step], peep_i).sigmoid_()
        f[step].addcmul_(c[step], peep_f).sigmoid_()
        candidate[step].tanh_()
        torch.mul(f[step], c[step], out=c[step + 1]).addcmul_(i[step], candidate[step])
        o[step].addcmul_(c[step + 1], peep_o).sigmoid_()
        torch.mul(o[step], torch.tanh(c[step + 1], out=squashed_RBH), out=h[step + 1])


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
    """Run all steps backwards; arguments as in fused_lstm.Backend."""
    multiply = RecurrentBack(d_gates_RTBG, weight_h_RGH)
    i, f, candidate, o = (each.unbind(1) for each in gates_RTBG.chunk(4, dim=3))
    d_i, d_f, d_candidate, d_o = (each.unbind(1) for each in d_gates_RTBG.chunk(4, dim=3))
    peep_i, peep_f, peep_o = peephole_R3H.unsqueeze(2).unbind(1)
    c = c_RTBH.unbind(1)
    out = None if d_output_RTBH is None else d_output_RTBH.unbind(1)
    d_peephole_3RH = peephole_R3H.new_zeros(3, len(gates_RTBG), gates_RTBG.shape[3] // 4)
    d_h, squashed, part = (torch.empty_like(d_c_RBH) for _ in range(3))
    before_RBH = d_h_RBH
    for step in range(gates_RTBG.shape[1] - 1, -1, -1):
        given = [each for each in (None if out is None else out[step], before_RBH) if each is not None]  # fmt: skip
        d_h.zero_() if not given else torch.add(*given, out=d_h) if len(given) == 2 else d_h.copy_(given[0])  # fmt: skip
        torch.tanh(c[step + 1], out=squashed)
        torch.mul(d_h, squashed, out=part)
        sigmoid_backward(part, o[step], grad_input=d_o[step])
        torch.mul(d_h, o[step], out=part)
        d_c_RBH.add_(tanh_backward(part, squashed, grad_input=part)).addcmul_(d_o[step], peep_o)
        torch.mul(d_c_RBH, candidate[step], out=part)
        sigmoid_backward(part, i[step], grad_input=d_i[step])
        torch.mul(d_c_RBH, i[step], out=part)
        tanh_backward(part, candidate[step], grad_input=d_candidate[step])
        torch.mul(d_c_RBH, c[step], out=part)
        sigmoid_backward(part, f[step], grad_input=d_f[step])
        d_c_RBH.mul_(f[step]).addcmul_(d_i[step], peep_i).addcmul_(d_f[step], peep_f)
        for row, d_gate, cell in (
            (0, d_i[step], c[step]),
            (1, d_f[step], c[step]),
            (2, d_o[step], c[step + 1]),
        ):
            d_peephole_3RH[row].add_(torch.mul(d_gate, cell, out=part).sum(1))
        before_RBH = multiply(step) if step or to_start else None
    return d_gates_RTBG.sum((1, 2)), d_peephole_3RH.transpose(0, 1), before_RBH
