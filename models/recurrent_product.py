"""The one matrix product of each step of a fused LSTM on a CPU, or wherever torch computes: written into what is there.

Letters as in fused_lstm.py.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Recurrent:
    """W_h h of a step added to its gates, in the dtype of the weights."""

    def __init__(
        self, gates_RTBG: Tensor, weight_h_RGH: Tensor, h_RTBH: Tensor, *, fresh: bool
    ) -> None:
        """Prepare all steps, so that a step costs one call."""
        self._lower = weight_h_RGH.dtype != gates_RTBG.dtype
        self._fresh = fresh
        self._alone = len(gates_RTBG) == 1
        if self._alone:
            self._gates = gates_RTBG[0].unbind(0)
            self._h, self._weight = h_RTBH[0].unbind(0), weight_h_RGH[0].t()
        else:
            self._gates = gates_RTBG.unbind(1)
            self._h, self._weight = h_RTBH.unbind(1), weight_h_RGH.transpose(1, 2)

    def __call__(self, step: int) -> None:
        """Add the product of step `step`, which reads the state before it; overwrite where gates are fresh."""
        gates, h = self._gates[step], self._h[step]
        if self._lower:
            product = h.to(self._weight.dtype) @ self._weight
            gates.copy_(product) if self._fresh else gates.add_(product)
        elif self._fresh:
            torch.matmul(h, self._weight, out=gates)
        elif self._alone:
            gates.addmm_(h, self._weight)
        else:
            gates.baddbmm_(h, self._weight)


class RecurrentBack:
    """The gradient of the state before a step, from that of the step's gates."""

    def __init__(self, d_gates_RTBG: Tensor, weight_h_RGH: Tensor) -> None:
        """Prepare all steps, and one tensor that every answer is written into."""
        replicas, _, batch, _ = d_gates_RTBG.shape
        self._weight = weight_h_RGH[0] if replicas == 1 else weight_h_RGH
        self._d_gates = d_gates_RTBG[0].unbind(0) if replicas == 1 else d_gates_RTBG.unbind(1)
        self._lower = weight_h_RGH.dtype != d_gates_RTBG.dtype
        self._answer_RBH = d_gates_RTBG.new_empty(replicas, batch, weight_h_RGH.shape[2])
        self._out = self._answer_RBH[0] if replicas == 1 else self._answer_RBH

    def __call__(self, step: int) -> Tensor:
        """Give (R, B, H); the next call overwrites it."""
        d_gates = self._d_gates[step]
        if self._lower:
            self._out.copy_(d_gates.to(self._weight.dtype) @ self._weight)
        else:
            torch.matmul(d_gates, self._weight, out=self._out)
        return self._answer_RBH
