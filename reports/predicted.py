"""What a run answered for every test video, from its stored predictions: right or wrong, class by class, among the first k.

Written apart from the code that scored the run, so that the two check each other. Shapes: V test videos, C classes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.evidence import Evidence


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
        """Whether the true class is among the `count` most probable ones (V,); of equal ones the first come first."""
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
    if table.duplicated(["video_id", "block"]).any():
        raise ValueError(f"{whose} predicted a block of a video twice")
    by_video = table.groupby("video_id", sort=True)
    if (by_video["label"].nunique() != 1).any():
        raise ValueError(f"{whose} gives one video two labels")
    labels = by_video["label"].first()
    if not labels.between(0, len(columns) - 1).all():
        raise ValueError(f"{whose} has labels that are none of its {len(columns)} classes")
    means = table[columns].astype(float).groupby(table["video_id"], sort=True).mean()
    return Predicted(
        videos=tuple(str(each) for each in labels.index),
        labels=labels.to_numpy(dtype=np.int64),
        probabilities=means.to_numpy(dtype=np.float64),
    )
