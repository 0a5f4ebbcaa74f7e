"""Fusion of two streams: the weighted mean of their probabilities of every video (sec. 3.3, Table 4).

Nothing is trained: two finished few-shot cells, the RGB stream's and the flow stream's, have predicted the blocks
of the same test videos. Each stream's blocks are averaged by video, the two are joined by video id, never by
place in a list, and fused. Shapes: S streams, V test videos, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np

from tasks import videoeval
from tasks.cell import Cell
from tasks.data.dataset import Video
from tasks.fewshot import FewShot
from tasks.schedule import Schedule
from tasks.subset import Subset
from tasks.task import Metric, Needed, Predictions, Score, Shard, Value

if TYPE_CHECKING:
    import torch

SHOWN = 3
"""Ids that a message lists before it only counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fusion:
    """Fuse two few-shot cells, the RGB stream's first; `fused` makes the cell.

    Raises:
        ValueError: for weights that are no weights of a mean.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (videoeval.VIDEO_ACCURACY, videoeval.VIDEO_NLL)
    parallel: ClassVar[bool] = False

    subset: Subset
    """The first stream's: its test list is what the fusion is scored on."""
    weights: tuple[float, float] = (1 / 3, 2 / 3)
    """Of the first and of the second stream. The paper states none; (rgb + 2 flow) / 3 is what the authors' code
    hints at. A value that is fixed beforehand: choosing it by test scores would fit the test list."""
    normalised: bool = False
    """Divide the weights by their sum, so that (1, 2) can be said; otherwise they must sum to 1."""

    def __post_init__(self) -> None:
        if len(self.weights) != 2 or not all(0 <= w < math.inf for w in self.weights):
            raise ValueError(f"weights={self.weights}: give two numbers of 0 or more")
        total = sum(self.weights)
        if self.normalised and not total > 0:
            raise ValueError(f"weights={self.weights}: one of them must be above 0")
        if not self.normalised and abs(total - 1) > 1e-9:
            raise ValueError(
                f"weights={self.weights} sum to {total:g}: they must sum to 1, or be normalised (normalised=True)"
            )

    @property
    def schedule(self) -> Schedule:
        """No training: 0 steps."""
        return Schedule(steps=0, batch_size=1, learning_rate=1.0)

    @property
    def shares(self) -> tuple[float, float]:
        """The weights as they are used, with sum 1."""
        total = sum(self.weights) if self.normalised else 1.0
        return self.weights[0] / total, self.weights[1] / total

    def check(self, needs: tuple[Cell, ...]) -> None:
        """Two different few-shot cells that learnt from the same videos and are tested on the same ones."""
        streams = [each.task for each in needs if isinstance(each.task, FewShot)]
        if len(needs) != 2 or len(streams) != 2:
            raise ValueError(
                "a fusion needs exactly two few-shot cells, the RGB stream's and the flow stream's"
            )
        first, second = streams
        if needs[0] == needs[1]:
            raise ValueError(
                f"cell {needs[0].short} is given as both streams: a fusion is of two different cells"
            )
        if first.subset != self.subset:
            raise ValueError(
                "the fusion's subset is not its first stream's: make the cell with tasks.fusion.fused"
            )
        ours, theirs = first.subset, second.subset
        for name in ("split", "shots", "resample"):
            if getattr(ours, name) != getattr(theirs, name):
                raise ValueError(
                    f"the streams have {name} {_said(getattr(ours, name))} and {_said(getattr(theirs, name))}: fuse "
                    f"cells of the same {name}"
                )
        if ours.dataset == theirs.dataset:
            return
        if ours.dataset.classes != theirs.dataset.classes:
            raise ValueError(
                f"the streams do not have the same classes in the same order ({len(ours.dataset.classes)} of "
                f"{ours.dataset.name}, {len(theirs.dataset.classes)} of {theirs.dataset.name}): their probabilities "
                "cannot be averaged"
            )
        # A subset is drawn by its dataset's name too, so equal coordinates do not make equal videos.
        for what, one, other in (
            ("tested on", ours.test_videos, theirs.test_videos),
            ("trained on", ours.videos, theirs.videos),
        ):
            _compare(
                one,
                {video.id: video.label for video in other},
                f"the streams are not {what} the same videos ({ours.dataset.name}, {theirs.dataset.name})",
            )

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat."""
        rgb, flow = self.shares
        return {
            **self.subset.values(),
            "stream": "rgb+flow",
            "rgb_weight": rgb,
            "flow_weight": flow,
        }

    def gflop(self) -> float:
        """Expected cost in 10^9 operations: a multiplication and an addition for each stream's probability."""
        return 4e-9 * len(self.subset.test_videos) * len(self.subset.dataset.classes)

    def files(self) -> Mapping[str, bytes]:
        """The subset's manifest."""
        return {"subset.json": self.subset.manifest()}

    def lost(self) -> str:
        """Nothing: all that it leaves is in its run's folder."""
        return ""

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """Both streams' probabilities by video, in the test list's order.

        Raises:
            ValueError: when a stream's predictions are not of the test list's videos, labels and classes.
        """
        import torch

        from models.fusion import StreamMean

        classes = len(self.subset.dataset.classes)
        streams_SVC = [by_video(each, self.subset.test_videos, classes) for each in needed]
        return StreamMean(self.shares, torch.from_numpy(np.stack(streams_SVC)))

    def batch(self, seed: int, step: int, shard: Shard) -> NoReturn:
        """There is none: the schedule has no steps."""
        raise NotImplementedError("a fusion is not trained")

    def loss(self, model: torch.nn.Module, batch: object) -> torch.Tensor:
        """There is none: the schedule has no steps."""
        raise NotImplementedError("a fusion is not trained")

    def num_chunks(self) -> int:
        """One: it is a table."""
        return 1

    def predict(self, model: torch.nn.Module, chunk: int) -> Predictions:
        """Fused probabilities: columns video_id, block (0), label, p0 .. p{C-1}; one row a video."""
        videos = self.subset.test_videos
        p_VC = model().cpu().numpy()
        return {
            "video_id": np.array([video.id for video in videos]),
            "block": np.zeros(len(videos), dtype=np.int32),
            "label": np.array([video.label for video in videos], dtype=np.int32),
            **{f"p{index}": p_VC[:, index] for index in range(p_VC.shape[1])},
        }

    def score(self, predictions: Predictions) -> Iterator[Score]:
        """Video accuracy and negative log likelihood; there are no blocks to score."""
        scores = videoeval.score_videos(predictions, self.subset.test_videos)
        return (score for score in scores if score.metric in self.metrics)

    def products(self, model: torch.nn.Module) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """Nothing: no other cell starts from it."""
        return {}


def fused(
    rgb: Cell,
    flow: Cell,
    *,
    weights: tuple[float, float] = (1 / 3, 2 / 3),
    normalised: bool = False,
    label: str = "",
) -> Cell:
    """The cell that fuses two few-shot cells.

    Raises:
        ValueError: when they cannot be fused; see `Fusion.check`.
    """
    if not isinstance(rgb.task, FewShot):
        raise ValueError(  # noqa: TRY004 - a wrong cell is a wrong value to whoever writes experiments
            f"cell {rgb.short} is of {type(rgb.task).__name__}: a fusion needs exactly two few-shot cells"
        )
    task = Fusion(subset=rgb.task.subset, weights=weights, normalised=normalised)
    return Cell(task=task, needs=(rgb, flow), label=label)


def by_video(needed: Needed, videos: Sequence[Video], num_classes: int) -> np.ndarray:
    """One stream's probabilities of every video, averaged over its blocks.

    Args:
        needed: the finished cell.
        videos: the test list.
        num_classes: C.

    Returns:
        float64 (V, C), in the test list's order.

    Raises:
        ValueError: when videos are missing or not on the list, or labels or the number of classes differ.
    """
    ids, labels, p_VC = videoeval.average_by_video(needed.predictions())
    rows = {name: row for row, name in enumerate(ids.tolist())}
    whose = f"the predictions of cell {needed.cell.short} do not fit the test list"
    _compare(videos, dict(zip(rows, labels.tolist(), strict=True)), whose)
    if p_VC.shape[1] != num_classes:
        raise ValueError(f"{whose}: they are of {p_VC.shape[1]} classes instead of {num_classes}")
    return p_VC[[rows[video.id] for video in videos]]


def _compare(videos: Sequence[Video], labels: Mapping[str, int], complaint: str) -> None:
    """Raise ValueError unless `labels` has exactly these videos with their labels."""
    want = {video.id: video.label for video in videos}
    problems = []
    relabelled = {name for name in want.keys() & labels.keys() if want[name] != labels[name]}
    for what, which in (
        ("missing", want.keys() - labels.keys()),
        ("not expected", labels.keys() - want.keys()),
        ("of another label", relabelled),
    ):
        if which:
            more = f", and {len(which) - SHOWN} more" if len(which) > SHOWN else ""
            problems.append(f"{len(which)} {what} ({', '.join(sorted(which)[:SHOWN])}{more})")
    if problems:
        raise ValueError(f"{complaint}: {', '.join(problems)}")


def _said(value: object) -> str:
    return "all" if value is None else str(value)
