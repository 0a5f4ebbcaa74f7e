"""What a run answered for every test video, from its stored predictions: right or wrong, class by class, among the first k.

Written apart from the code that scored the run, so that the two check each other. Shapes: V test videos, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.evidence import Evidence
from reports.statistics import Comparison, over_videos


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Predicted:
    """One run's answers, videos sorted by id."""

    videos: tuple[str, ...]
    labels: np.ndarray
    """True classes (V,)."""
    probabilities: np.ndarray
    """Mean over a video's blocks (V, C), float64."""

    @property
    def chosen(self) -> np.ndarray:
        """The class of the largest probability (V,); of equal ones the first."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def right(self) -> np.ndarray:
        """Whether it is the true one (V,)."""
        return np.asarray(self.chosen == self.labels)

    def among_first(self, count: int) -> np.ndarray:
        """Whether the true class is among the `count` most probable ones (V,); of equal ones the first come first.

        Raises:
            ValueError: for a count below 1. With as many as there are classes, or more, every answer is right.
        """
        if count < 1:
            raise ValueError(f"count={count}: the true class is looked for among at least 1")
        first = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        return np.asarray((first == self.labels[:, None]).any(axis=1))

    def per_class(self) -> np.ndarray:
        """Percent of right answers by true class (C,); nan for a class without test videos."""
        confusion = self.confusion()
        total = confusion.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(100 * np.diag(confusion) / total)

    def confusion(self) -> np.ndarray:
        """How many videos of each true class (rows) were given each class (columns), (C, C)."""
        count = self.probabilities.shape[1]
        table = np.zeros((count, count), dtype=np.int64)
        np.add.at(table, (self.labels, self.chosen), 1)
        return table


def predicted(evidence: Evidence, cell: str) -> Predicted | None:
    """A cell's answers, or None when it has no accepted run.

    Args:
        evidence: whose `kept` knows the run's folder.
        cell: its key.

    Raises:
        ValueError: when its predictions are not of videos and classes, or contradict themselves.
    """
    table = evidence.predictions(cell)
    return None if table is None else predicted_in(table, whose=f"cell {cell[:16]}")


def predicted_in(table: pd.DataFrame, *, whose: str) -> Predicted:
    """Answers from a table of predictions: one line a block, with video_id, block, label, p0 .. p{C-1}.

    Args:
        table: the predictions.
        whose: for messages.

    Raises:
        ValueError: see `predicted`.
    """
    columns = [name for name in table.columns if name[:1] == "p" and name[1:].isdigit()]
    columns.sort(key=lambda name: int(name[1:]))
    lacking = {"video_id", "block", "label"} - set(table.columns)
    if lacking or columns != [f"p{place}" for place in range(len(columns))] or not columns:
        raise ValueError(
            f"{whose} predicted no classes of videos (it has {', '.join(map(str, table.columns[:6]))}, ...): only "
            "classifiers can be looked at so"
        )
    if table.empty or table[["video_id", "block", "label"]].isna().any(axis=None):
        raise ValueError(
            f"{whose} predicted nothing, or does not say of which video, block and label"
        )
    place_B, videos = pd.factorize(table["video_id"].astype(str), sort=True)
    _, block_B = np.unique(table["block"].to_numpy(), return_inverse=True)
    if len(np.unique(place_B * (block_B.max() + 1) + block_B)) < len(table):
        raise ValueError(f"{whose} predicted a block of a video twice")
    label_B = table["label"].to_numpy()
    labels = np.zeros(len(videos), dtype=np.int64)
    labels[place_B] = label_B.astype(np.int64)
    if (labels[place_B] != label_B).any():
        raise ValueError(f"{whose} gives one video two labels, or one that is no class")
    if labels.min() < 0 or labels.max() >= len(columns):
        raise ValueError(f"{whose} has labels that are none of its {len(columns)} classes")
    blocks_V = np.bincount(place_B)
    means = np.empty((len(videos), len(columns)))
    for place, name in enumerate(columns):
        means[:, place] = np.bincount(place_B, weights=table[name].to_numpy(dtype=float)) / blocks_V
    if not np.isfinite(means).all():
        raise ValueError(f"{whose} has probabilities that are no finite numbers")
    return Predicted(
        videos=tuple(map(str, videos)),
        labels=labels,
        probabilities=means,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answered:
    """What several runs answered on one test list, videos sorted by id."""

    videos: tuple[str, ...]
    labels: np.ndarray
    """True classes (V,)."""
    shares: np.ndarray
    """Of each video the share of runs that answered it right (V,)."""


def answered(evidence: Evidence, cells: Sequence[str]) -> Answered | None:
    """What several runs answered on one test list.

    Args:
        evidence: whose `kept` knows the runs' folders.
        cells: at least one key of a cell; all are tested on the same list.

    Returns:
        The shares of right answers; None when one of the cells has no accepted run.

    Raises:
        ValueError: when they answered other videos or labels than each other; see also `predicted`.
    """
    found: list[Predicted] = []
    for cell in cells:
        mine = predicted(evidence, cell)
        if mine is None:
            return None
        found.append(mine)
        _check_same_list(cells[0], found[0], cell, mine)
    return Answered(
        videos=found[0].videos,
        labels=found[0].labels,
        shares=np.mean([each.right for each in found], axis=0, dtype=float),
    )


def difference_over_videos(
    evidence: Evidence, pairs: Sequence[tuple[Sequence[str], Sequence[str]]]
) -> Comparison | None:
    """`reports.statistics.over_videos` of two methods, from what their runs predicted.

    Args:
        evidence: whose `kept` knows the runs' folders.
        pairs: for each test list the cells of the baseline and those of the method that it is subtracted from; several
            cells of a list are several runs, whose answers to a video are averaged.

    Returns:
        The comparison, method minus baseline; None when a cell has no accepted run, or there is no list.

    Raises:
        ValueError: when the two did not answer the same videos; see also `predicted`.
    """
    lists, baseline, method = [], [], []
    for cells, others in pairs:
        one, other = answered(evidence, cells), answered(evidence, others)
        if one is None or other is None:
            return None
        _check_same_list(cells[0], one, others[0], other)
        lists.append(one.videos)
        baseline.append(one.shares.tolist())
        method.append(other.shares.tolist())
    return over_videos(baseline, method, lists) if lists else None


def _check_same_list(
    cell: str, one: Predicted | Answered, other_cell: str, other: Predicted | Answered
) -> None:
    """Refuse to compare answers to different questions."""
    both = f"cells {cell[:16]} and {other_cell[:16]}"
    if one.videos != other.videos:
        strangers = set(one.videos) ^ set(other.videos)
        raise ValueError(
            f"{both} were not tested on the same videos ({len(strangers)} were answered by one of them only, such as "
            f"{min(strangers)}): compare runs of one split"
        )
    unlike = np.flatnonzero(one.labels != other.labels)
    if len(unlike):
        raise ValueError(
            f"{both} do not agree on the class of {one.videos[int(unlike[0])]}: their labels are of different lists"
        )
