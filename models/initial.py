"""The paper's initial values, shared by every layer.

Section 3.1: weights from a uniform distribution of scale 1/sqrt(fan-in), all biases zero. The paper
does not say whether a unit's fan-in counts its frame and its recurrent inputs together. Here each
matrix has its own: the number of its columns.

Letters: I inputs, O outputs.
"""

from __future__ import annotations

from torch import Tensor, nn


def uniform_fan_in_(weight_OI: Tensor) -> Tensor:
    """Fill a weight matrix in place from U(-1/sqrt(I), 1/sqrt(I)) and return it."""
    bound = weight_OI.shape[1] ** -0.5
    return nn.init.uniform_(weight_OI, -bound, bound)


def uniform_linear(in_features: int, out_features: int) -> nn.Linear:
    """Give a linear layer, (..., I) to (..., O), with the paper's initial weights and zero bias."""
    linear = nn.Linear(in_features, out_features)
    uniform_fan_in_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
