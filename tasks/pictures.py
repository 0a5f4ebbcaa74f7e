"""What a trained model does with held-out sequences, kept as pictures (sec. 3.2, Figs. 5, 6 and 8).

The first few held-out sequences are kept whole: what the encoder read, what came next, and what the decoders made of them.
Losses are over many more sequences, as in `tasks.evaluate`.

Shapes: T frames in, F frames ahead, B sequences, D numbers of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tasks.cell import Cell
from tasks.data.dataset import Unlabelled
from tasks.evaluate import Evaluate, evaluating, pretraining_of
from tasks.task import Value

if TYPE_CHECKING:
    import torch

FILE = "pictures"
"""Name of the file in which pictures are kept, without its ending."""
MOST_SHOWN = 16
"""More sequences than this are no figure any more."""


class Shape(NamedTuple):
    """A frame as a picture."""

    side: int
    """Rows, and columns."""
    channels: int
    """1 for grey, 3 for colours, which lie together: a frame is side x side x channels numbers in this order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures(Evaluate):
    """Show held-out sequences to a trained model, and keep what it makes of the first ones; made by `pictured`.

    Raises:
        ValueError: for frames that are no square pictures or unlike those that the model was trained on, or a count outside
            its range.
    """

    show: int = 2
    """Sequences that are kept as pictures."""

    def __post_init__(self) -> None:
        # With its names: a dataclass with slots is made anew, and a bare super() would look for the first one.
        super(Pictures, self).__post_init__()
        if not 1 <= self.show <= MOST_SHOWN:
            raise ValueError(f"show={self.show}: a figure has 1 to {MOST_SHOWN} sequences")
        ours = self.dataset
        if picture_shape(ours.frame_size) is None:
            raise ValueError(
                f"a frame of {ours.name} is {ours.frame_size:,} numbers, and this is no square picture in grey or in three "
                "colours: pictures are made of pixels, not of percepts"
            )

    @property
    def shape(self) -> Shape:
        """A frame as a picture."""
        found = picture_shape(self.dataset.frame_size)
        assert found is not None  # __post_init__ saw to it
        return found

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat: the model's, and what it is shown."""
        return {
            **super(Pictures, self).values(),
            "show": self.show,
            "side": self.shape.side,
            "channels": self.shape.channels,
        }

    def products(self, model: torch.nn.Module) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """The pictures, all in the order of time and on the scale of the dataset's frames.

        Returns:
            In the file `FILE`, float16: input_TBD and future_FBD, the truth; reconstruction_TBD and prediction_FBD, what the
            decoders make of it where the model has them, running freely and after the output units. display_range, float32
            (2,): the values that are black and white.
        """
        import torch

        from models.autoencoder import EncoderDecoder, reversed_targets

        if not isinstance(model, EncoderDecoder):
            raise TypeError(f"{type(model).__name__} has no decoders to make pictures with")
        shown = self.asked.evaluation(range(self.show), next(model.parameters()).device)
        with torch.no_grad():
            decoded = model(
                shown.frames_TBD, future_steps=self.trained.future_frames, teacher_forced=False
            )
        kept = {"input_TBD": shown.frames_TBD, "future_FBD": shown.future_FBD}
        if decoded.reconstruction_TBD is not None:
            # The decoder begins with the last frame; turning it round once more gives the order of time.
            kept["reconstruction_TBD"] = reversed_targets(self._seen(decoded.reconstruction_TBD))
        if decoded.future_TBD is not None:
            kept["prediction_FBD"] = self._seen(decoded.future_TBD)
        low, high = self._display_range(torch.cat([shown.frames_TBD, shown.future_FBD]))
        pictures = {name: each.half() for name, each in kept.items()}
        return {FILE: {**pictures, "display_range": torch.tensor([low, high])}}

    def _seen(self, raw_TBD: torch.Tensor) -> torch.Tensor:
        """Raw outputs as frames."""
        return raw_TBD.sigmoid() if self.dataset.output == "logistic" else raw_TBD

    def _display_range(self, truth_TBD: torch.Tensor) -> tuple[float, float]:
        """What is black and what is white.

        Frames for logistic outputs are in [0, 1]. Others have no such ends: those of the true frames without their most extreme
        hundredth on both sides, so that one bright spot does not turn all else dark.
        """
        import numpy as np

        if self.dataset.output == "logistic":
            return 0.0, 1.0
        low, high = np.percentile(truth_TBD.float().cpu().numpy(), (1, 99))
        return float(low), float(max(high, low + 1e-2))  # frames of one colour are black, not noise


def picture_shape(frame_size: int) -> Shape | None:
    """The square picture of so many numbers, grey or in three colours; None where there is none.

    It is never in doubt: no square is three times another.
    """
    for channels in (1, 3):
        side = math.isqrt(frame_size // channels)
        if side and side**2 * channels == frame_size:
            return Shape(side, channels)
    return None


def pictured(
    trained: Cell,
    *,
    label: str,
    show: int = 2,
    dataset: Unlabelled | None = None,
    test_sequences: int | None = None,
) -> Cell:
    """The cell that shows what a pretrained model does.

    Args:
        trained: a pretraining cell.
        label: what reports call it.
        show: sequences to keep as pictures.
        dataset: whose held-out sequences to show; None for those of the data it was trained on.
        test_sequences: how many the losses are averaged over; None for as many as its training is scored on.

    Raises:
        ValueError: when the cell is no pretraining cell, or its model cannot take these frames.
    """
    task = pretraining_of(trained)
    made = Pictures(
        trained=task,
        trained_cell=trained.key,
        dataset=task.dataset if dataset is None else dataset,
        show=show,
        test_sequences=task.test_sequences if test_sequences is None else test_sequences,
    )
    return evaluating(made, trained, label)
