"""Late fusion of streams: the weighted mean of their class probabilities (section 3.3, Table 4).

Letters: S streams, V videos, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class StreamMean(nn.Module):
    """Holds every stream's probabilities of the same videos, and the weights of their mean."""

    weights_S: Tensor
    probabilities_SVC: Tensor

    def __init__(self, weights: Sequence[float], probabilities_SVC: Tensor) -> None:
        """Keep them; nothing here is trained."""
        super().__init__()
        # A parameter, though fixed: whoever asks a model for its device looks at its parameters.
        self.weights_S = nn.Parameter(
            torch.tensor(weights, dtype=probabilities_SVC.dtype), requires_grad=False
        )
        self.register_buffer("probabilities_SVC", probabilities_SVC)

    def forward(self) -> Tensor:
        """Give the fused probabilities_VC."""
        return torch.einsum("s,svc->vc", self.weights_S, self.probabilities_SVC)
