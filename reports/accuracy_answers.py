"""What runs answered, video by video, as far as tables of accuracies need it: right or wrong, by class, by split.

One cell's answers are read once, and their probabilities are let go. Shapes: V test videos, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.evidence import Evidence
from reports.predicted import predicted

FIRST = 5
"""Top-5: whether the true class is among so many."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answer:
    """One cell's."""

    videos: tuple[str, ...]
    labels_V: np.ndarray
    right_V: np.ndarray
    first_V: np.ndarray
    """Whether the true class is among the first `FIRST`."""
    confusion_CC: np.ndarray
    """Videos by true class (rows) and chosen class (columns)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answers:
    """Those of all runs behind one line of a table: one test list a split."""

    lists: tuple[tuple[str, ...], ...]
    right: tuple[tuple[float, ...], ...]
    """Of each video of each list the share of runs that were right, from 0 to 1."""
    first: float
    """Top-5 accuracy in percent, mean over splits; nan where there are no more classes than that."""
    confusion_CC: np.ndarray
    """Sum over all runs."""

    def per_class(self) -> np.ndarray:
        """Percent of right answers by true class (C,), over the answers of all splits together; nan for none."""
        total = self.confusion_CC.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(100 * np.diag(self.confusion_CC) / total)


def answer(evidence: Evidence, cell: str) -> Answer | None:
    """A cell's answers; None where no accepted run, or no file of predictions, is at hand.

    Raises:
        ValueError: for predictions that `reports.predicted` refuses.
    """
    if cell not in evidence.kept or not (evidence.kept[cell] / "predictions.parquet").is_file():
        return None
    found = predicted(evidence, cell)
    assert found is not None  # the folder is known
    return Answer(
        videos=found.videos,
        labels_V=found.labels,
        right_V=found.right,
        first_V=found.among_first(FIRST),
        confusion_CC=found.confusion(),
    )


def together(by_split: Mapping[int, Sequence[Answer | None]], *, whose: str) -> Answers | None:
    """The answers behind one line, by split; None as soon as one run's are not at hand.

    Args:
        by_split: for each split the answers of its runs, one a seed.
        whose: for messages.

    Raises:
        ValueError: when two runs of a split answered other videos, or of other classes.
    """
    lists, right, first, confusion = [], [], [], []
    for split, runs in sorted(by_split.items()):
        whole = [each for each in runs if each is not None]
        if len(whole) < len(runs) or not runs:
            return None
        if any(
            each.videos != whole[0].videos or (each.labels_V != whole[0].labels_V).any()
            for each in whole
        ):
            raise ValueError(
                f"{whose}: its runs of split {split} answered different test videos, or know other labels of them; a split has one test list"
            )
        lists.append(whole[0].videos)
        right.append(tuple(np.mean([each.right_V for each in whole], axis=0).tolist()))
        first.append(float(np.mean([each.first_V for each in whole])))
        confusion += [each.confusion_CC for each in whole]
    if len({each.shape for each in confusion}) > 1:
        raise ValueError(f"{whose}: its runs know different numbers of classes")
    several = bool(confusion) and len(confusion[0]) > FIRST
    return Answers(
        lists=tuple(lists),
        right=tuple(right),
        first=100 * float(np.mean(first)) if several else float("nan"),
        confusion_CC=np.sum(confusion, axis=0),
    )
