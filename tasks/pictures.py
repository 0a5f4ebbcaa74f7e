"""What a trained model does with held-out sequences, kept as pictures (sec. 3.2, Figs. 5, 6 and 8).

The first few held-out sequences are kept whole: what the encoder read, what came next, and what the decoders made of them.
Losses are over many more sequences, computed as the pretraining task computes its own. The sequences may be of other data than
the model was trained on, such as one or three moving digits for a model of two.

Shapes: T frames in, F frames ahead, B sequences, D numbers of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple, NoReturn

from tasks.cell import UNKEYED, Cell, canonical
from tasks.data.dataset import Unlabelled
from tasks.pretrain import Pretrain
from tasks.schedule import Schedule
from tasks.task import Metric, Needed, Predictions, Score, Shard, Value

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
class Pictures:
    """Show held-out sequences to a trained model, and keep what it makes of the first ones.

    Raises:
        ValueError: for frames that are no square pictures or unlike those that the model was trained on, or a count outside
            its range.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = Pretrain.metrics
    parallel: ClassVar[bool] = True

    trained: Pretrain
    """How the model was trained: the task of the cell that this one needs."""
    dataset: Unlabelled
    """Whose held-out sequences are shown."""
    show: int = 2
    """Sequences that are kept as pictures."""
    test_sequences: int = 512
    """Held-out sequences that the losses are averaged over."""
    chunk: int = field(default=64, metadata=UNKEYED)
    """Sequences evaluated at once."""

    def __post_init__(self) -> None:
        if not 1 <= self.show <= MOST_SHOWN:
            raise ValueError(f"show={self.show}: a figure has 1 to {MOST_SHOWN} sequences")
        for name in ("test_sequences", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: it must be at least 1")
        ours, theirs = self.dataset, self.trained.dataset
        if ours.frame_size != theirs.frame_size:
            raise ValueError(
                f"a frame of {ours.name} is {ours.frame_size:,} numbers, and the model was trained on frames of "
                f"{theirs.frame_size:,} ({theirs.name}): show it frames of the same size"
            )
        if ours.output != theirs.output:
            raise ValueError(
                f"{ours.name} asks for {ours.output} outputs, and the model was trained with {theirs.output} ones "
                f"({theirs.name}): show it frames on the same scale"
            )
        if picture_shape(ours.frame_size) is None:
            raise ValueError(
                f"a frame of {ours.name} is {ours.frame_size:,} numbers, and this is no square picture in grey or in three "
                "colours: pictures are made of pixels, not of percepts"
            )

    @property
    def schedule(self) -> Schedule:
        """No training: 0 steps."""
        return Schedule(steps=0, batch_size=1, learning_rate=1.0)

    @property
    def shape(self) -> Shape:
        """A frame as a picture."""
        found = picture_shape(self.dataset.frame_size)
        assert found is not None  # __post_init__ saw to it
        return found

    @property
    def _asked(self) -> Pretrain:
        """The pretraining task, put to these sequences: it has the losses, and knows the decoders."""
        return replace(
            self.trained,
            dataset=self.dataset,
            test_sequences=self.test_sequences,
            chunk=self.chunk,
        )

    def check(self, needs: tuple[Cell, ...]) -> None:
        """The model comes from one pretraining cell, the one that `trained` speaks of."""
        if len(needs) != 1 or not isinstance(needs[0].task, Pretrain):
            raise ValueError("pictures need exactly one pretraining cell, whose model they show")
        if canonical(needs[0].task) != canonical(self.trained):
            raise ValueError(
                f"cell {needs[0].short} was not trained as these pictures say: make the cell with tasks.pictures.pictured"
            )

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat: the model's, and what it is shown."""
        return {
            **self.trained.values(),
            "dataset": self.dataset.name,
            "trained_on": self.trained.dataset.name,
            "show": self.show,
            "test_sequences": self.test_sequences,
            "side": self.shape.side,
            "channels": self.shape.channels,
        }

    def gflop(self) -> float:
        """Expected cost in 10^9 operations: the held-out sequences once through the model."""
        return replace(self._asked, schedule=self.schedule).gflop()

    def files(self) -> Mapping[str, bytes]:
        """Nothing beyond the cell itself."""
        return {}

    def lost(self) -> str:
        """Nothing: all that it leaves is in its run's folder."""
        return ""

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """The model as it was trained."""
        model = self.trained.build(seed, ())
        model.load_state_dict(needed[0].tensors("model"))
        return model

    def batch(self, seed: int, step: int, shard: Shard) -> NoReturn:
        """There is none: the schedule has no steps."""
        raise NotImplementedError("pictures are not trained")

    def loss(self, model: torch.nn.Module, batch: object) -> torch.Tensor:
        """There is none: the schedule has no steps."""
        raise NotImplementedError("pictures are not trained")

    def num_chunks(self) -> int:
        """Pieces of the held-out sequences."""
        return self._asked.num_chunks()

    def predict(self, model: torch.nn.Module, chunk: int) -> Predictions:
        """Losses of every sequence of a chunk, as in pretraining."""
        return self._asked.predict(model, chunk)

    def score(self, predictions: Predictions) -> Iterable[Score]:
        """Mean losses over the held-out sequences.

        Raises:
            ValueError: unless every sequence is there exactly once, with finite losses.
        """
        return self._asked.score(predictions)

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
        shown = self._asked.evaluation(range(self.show), next(model.parameters()).device)
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
    trained: Cell, *, label: str, show: int = 2, dataset: Unlabelled | None = None
) -> Cell:
    """The cell that shows what a pretrained model does.

    Args:
        trained: a pretraining cell.
        label: what reports call it.
        show: sequences to keep as pictures.
        dataset: whose held-out sequences to show; None for those of the data it was trained on.

    Raises:
        ValueError: when the cell is no pretraining cell, or its model cannot take these frames.
    """
    if not isinstance(trained.task, Pretrain):
        raise ValueError(  # noqa: TRY004 - a wrong cell is a wrong value to whoever writes experiments
            f"cell {trained.short} is of {type(trained.task).__name__}: pictures need exactly one pretraining cell"
        )
    task = Pictures(
        trained=trained.task,
        dataset=trained.task.dataset if dataset is None else dataset,
        show=show,
        test_sequences=trained.task.test_sequences,
    )
    # Without its label: reports draw the pictures, and tell the scores of the run behind them.
    return Cell(task=task, needs=(replace(trained, label=""),), label=label)
