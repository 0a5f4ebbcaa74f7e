"""The single-frame classifier of Fig. 12: logistic regression on frames, averaged over the video (sec. 3.3).

Trained by the same loop as every other task, on single frames drawn from the subset's videos; the problem is
convex, and a test holds the result against scikit-learn's solver. At test time every frame of a video is
classified alone and the softmax probabilities are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from tasks import videoeval
from tasks.cell import UNKEYED, Cell
from tasks.fewshot import draw_blocks
from tasks.schedule import Schedule
from tasks.subset import Subset
from tasks.task import Metric, Needed, Predictions, Score, Shard, Value

if TYPE_CHECKING:
    import torch


class Frames(NamedTuple):
    """Labelled single frames."""

    frames_BD: torch.Tensor
    labels_B: torch.Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class SingleFrame:
    """Logistic regression on the frames of a subset, tested on the split's test list.

    Raises:
        ValueError: for a split that does not exist or leaks, or a value outside its range.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (
        videoeval.VIDEO_ACCURACY,
        videoeval.FRAME_ACCURACY,
        videoeval.VIDEO_NLL,
    )
    parallel: ClassVar[bool] = False

    subset: Subset
    schedule: Schedule
    chunk: int = field(default=64, metadata=UNKEYED)
    """Videos evaluated at once."""

    def check(self, needs: tuple[Cell, ...]) -> None:
        """Logistic regression starts from zero weights."""
        if needs:
            raise ValueError("a single-frame cell needs no other cell")

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat."""
        return {
            **self.subset.values(),
            "steps": self.schedule.steps,
            "batch_size": self.schedule.batch_size,
            "learning_rate": self.schedule.learning_rate,
        }

    def gflop(self) -> float:
        """Expected cost in 10^9 operations."""
        tested = videoeval.num_test_frames(self.subset.dataset, self.subset.split)
        each = 2e-9 * self.subset.dataset.frame_size * len(self.subset.dataset.classes)
        return each * (3 * self.schedule.steps * self.schedule.batch_size + tested)

    def files(self) -> Mapping[str, bytes]:
        """The subset's manifest."""
        return {"subset.json": self.subset.manifest()}

    def lost(self) -> str:
        """Nothing: all that it leaves is in its run's folder."""
        return ""

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """The classifier with zero weights."""
        from models.single_frame import SingleFrameClassifier

        return SingleFrameClassifier(
            self.subset.dataset.frame_size, len(self.subset.dataset.classes)
        )

    def batch(self, seed: int, step: int, shard: Shard) -> Frames:
        """This rank's rows of the global batch of `step`."""
        frames_TBD, labels_B = draw_blocks(
            self.subset,
            seed=seed,
            step=step,
            count=self.schedule.batch_size,
            block=1,
            shard=shard,
        )
        return Frames(frames_TBD[0], labels_B)

    def loss(self, model: torch.nn.Module, batch: Frames) -> torch.Tensor:
        """Cross entropy, over the global batch size."""
        from torch.nn import functional

        total = functional.cross_entropy(model(batch.frames_BD), batch.labels_B, reduction="sum")
        return total / self.schedule.batch_size

    def num_chunks(self) -> int:
        """Pieces of the test list."""
        return -(-len(self.subset.test_videos) // self.chunk)

    def predict(self, model: torch.nn.Module, chunk: int) -> Predictions:
        """Probabilities of every frame of a chunk's videos: a frame is a block of one."""
        videos = videoeval.chunk_of(self.subset.test_videos, chunk, self.chunk)
        return videoeval.predict_blocks(
            self.subset.dataset,
            videos,
            lambda frames_TBD: model(frames_TBD[0]).softmax(dim=-1),
            block=1,
            stride=1,
            device=next(model.parameters()).device,
        )

    def score(self, predictions: Predictions) -> Iterator[Score]:
        """Video and frame accuracy on the split's test list."""
        return videoeval.score_videos(
            predictions, self.subset.test_videos, per_block=videoeval.FRAME_ACCURACY
        )

    def products(self, model: torch.nn.Module) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """Nothing: no other cell starts from it."""
        return {}
