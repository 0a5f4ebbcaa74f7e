"""The single-frame classifier: the paper's baseline without time (section 3.3, Table 1).

Its probabilities are averaged over the frames of a video by whoever evaluates it.

Letters: N frames, D numbers in a frame, C classes.
"""

from __future__ import annotations

from torch import Tensor, nn


class SingleFrameClassifier(nn.Module):
    """Multinomial logistic regression on single frames.

    Starts at zero, that is at uniform probabilities: the loss is convex, so no symmetry needs
    breaking and the result does not hang on a draw.
    """

    def __init__(self, frame_size: int, num_classes: int) -> None:
        """Make weights for frames of `frame_size` numbers and `num_classes` classes."""
        super().__init__()
        self.readout = nn.Linear(frame_size, num_classes)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(self, frames_ND: Tensor) -> Tensor:
        """Give logits_NC for every frame; step and sequence axes may stand before D as well."""
        logits_NC: Tensor = self.readout(frames_ND)
        return logits_NC
