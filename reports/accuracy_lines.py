"""The lines of Tables 1, 3 and 4: accuracy of one method on one stream, with its interval and what it is compared with.

One line per (dataset, stream, labelled videos, method). What a spread is over depends on what was repeated:

- *resamples* of a labelled subset that is less than its pool, where there are several: each averaged over its splits first. Interval and test are
  t, corrected for what subsets of one pool share (`reports.statistics`).
- else *splits*, or *seeds* of the one split. Intervals and tests are over test videos, from the stored predictions.

A line that lacks anything it should be over has no number. R resamples (or seeds), S splits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from reports.accuracy_answers import Answer, Answers, answer, together
from reports.accuracy_layouts import Layout, stream_rank
from reports.evidence import Evidence
from reports.join import join
from reports.published import Published
from reports.statistics import (
    Comparison,
    Mean,
    holm,
    mean_interval,
    mean_over_videos,
    over_videos,
    overlap_over_splits,
    paired_t,
)

METRIC = "video_accuracy"
SMALLER = ("block_accuracy", "frame_accuracy")
"""Accuracies over what a video is cut into, by name; a method has at most one of them."""

TOLERANCE = 1e-6
"""Percentage points by which predictions may differ from scores, by rounding."""

Over = Literal["resamples", "splits", "seeds", ""]


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """What a line is compared with, and how that came out."""

    method: str
    stream: str
    comparison: Comparison | None
    """Line minus baseline, in percentage points; None where something is missing."""
    p_holm: float = math.nan
    """p, adjusted over all comparisons of the report."""
    cells: tuple[str, ...] = ()
    """Keys of the baseline's cells."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Line:
    """One method on one stream of one dataset, with so many labelled videos; absent numbers are nan, all in percent."""

    dataset: str
    stream: str
    shots: str
    method: str
    labels_per_class: float
    """Mean over splits."""
    overlap: float
    """Share of a labelled subset that another one has, 0 where subsets are not resampled or their pool is unknown."""
    over: Over
    """What mean, sd and n are over; empty for a single run."""
    n: int
    """Of these, how many are complete,"""
    expected: int
    """and how many there should be."""
    by_split: Mapping[int, float]
    """Each split's own number, mean over its runs."""
    mean: float
    sd: float
    """ddof = 1."""
    low: float
    high: float
    interval: str
    """What the 95 % interval is from; empty where there is none."""
    block: float
    """Accuracy over what a video is cut into, reduced as `mean`."""
    block_metric: str
    """Its name; empty where the method has none."""
    first: float
    """Top-5 video accuracy."""
    published: Published | None
    cells: tuple[str, ...]
    runs: tuple[str, ...]
    values_RS: np.ndarray
    resamples: tuple[int, ...]
    answers: Answers | None
    """None where predictions are missing, or nothing is read from them."""
    read: tuple[tuple[int, int, Answer], ...]
    """Split, resample and answers of each run that they were read of."""
    against: Against | None = None
    also: Against | None = None
    """The second of two comparisons: of a fusion, which has two streams to be compared with."""

    @property
    def comparisons(self) -> tuple[Against, ...]:
        """All that it is compared with."""
        return tuple(each for each in (self.against, self.also) if each is not None)

    @property
    def complete(self) -> bool:
        """Whether all that should be there is there."""
        return self.n == self.expected

    @property
    def unanswered(self) -> bool:
        """Whether its numbers are there, but not the predictions that its interval would be from."""
        return self.complete and self.over != "resamples" and self.answers is None

    @property
    def minus_published(self) -> float:
        """Ours minus the paper's."""
        return math.nan if self.published is None else self.mean - self.published.value

    @property
    def whose(self) -> str:
        """For messages."""
        return f"{self.method} on {self.stream} of {self.dataset} ({self.shots} labelled videos)"


def measured(evidence: Evidence, layout: Layout) -> list[Line]:
    """All lines, by dataset, stream, labelled videos and method.

    Args:
        evidence: cells that say their stream; `kept` leads to the predictions of lines that are not over resamples.
        layout: of the table: order of methods, what each is compared with, published numbers.

    Raises:
        ValueError: for evidence that `reports.join` or `reports.predicted` refuses; when resamples of one line, or two
            methods that are compared, are on different splits; when runs of one split answered different videos.
    """
    cells = join(evidence, METRIC)
    found = {(str(row["cell"]), str(row["metric"])): row["value"] for row in evidence.rows}
    for name in SMALLER:
        of_cell = [found.get((key, name)) for key in cells["cell"]]
        cells[name] = pd.Series(of_cell, index=cells.index, dtype=float)

    datasets = list(dict.fromkeys(cells["dataset"]))
    methods = layout.order(cells["method"])
    point = ["dataset", "stream", "shots", "method"]
    lines = [_line(mine, layout, evidence) for _, mine in cells.groupby(point, sort=False)]
    lines.sort(
        key=lambda line: (
            datasets.index(line.dataset),
            stream_rank(line.stream),
            line.stream,
            line.shots == "all",
            line.labels_per_class,
            methods.index(line.method),
        )
    )
    return _adjusted([_compared(line, lines, layout) for line in lines])


def _line(mine: pd.DataFrame, layout: Layout, evidence: Evidence) -> Line:
    """One line from its joined cells."""
    splits = [int(each) for each in sorted(mine["split"].unique())]
    resamples = [int(each) for each in sorted(mine["resample"].unique())]
    first = mine.iloc[0]
    place = {name: str(first[name]) for name in ("dataset", "stream", "shots", "method")}
    whose = ", ".join(place.values())
    if len(mine) != len(splits) * len(resamples):
        raise ValueError(
            f"{whose}: {len(mine)} cells are expected of {len(resamples)} resamples and {len(splits)} splits; a mean would mix "
            "splits, so expect the same splits of every resample"
        )
    at = (
        np.searchsorted(resamples, mine["resample"].to_numpy(dtype=int)),
        np.searchsorted(splits, mine["split"].to_numpy(dtype=int)),
    )

    def laid(name: str) -> np.ndarray:
        values_RS = np.full((len(resamples), len(splits)), math.nan)
        values_RS[at] = mine[name].to_numpy(dtype=float)
        return values_RS

    values_RS = laid("value")
    labels = mine.drop_duplicates("split")
    share = float((labels["labels_per_class"] / labels["pool_per_class"]).mean(skipna=False))
    over = _over(place["shots"], share, *values_RS.shape)
    units = _units(values_RS, over)
    n = int(np.isfinite(units).sum())
    whole = n == len(units)
    overlap = 0.0
    if over == "resamples" and not math.isnan(share):
        overlap = overlap_over_splits(share, len(splits))
    smaller = next((name for name in SMALLER if mine[name].notna().any()), "")
    single: list[tuple[int, int, Answer | None]] = []
    if over != "resamples":
        places = mine.sort_values(["split", "resample"])[["split", "resample", "cell"]]
        single = [
            (int(split), int(run), answer(evidence, cell))
            for split, run, cell in places.itertuples(index=False)
        ]
    answers = together(
        {split: [each for at_split, _, each in single if at_split == split] for split in splits},
        whose=whose,
    )
    _check_scores(answers, values_RS, whose)
    reduced = _reduced(units, overlap) if whole else None
    interval, low, high = "", math.nan, math.nan
    if reduced is not None and over == "resamples":
        low, high, interval = reduced.low, reduced.high, reduced.interval
    elif whole and answers is not None:
        videos = mean_over_videos(answers.right, answers.lists)
        low, high, interval = videos.low, videos.high, videos.interval
    return Line(
        dataset=place["dataset"],
        stream=place["stream"],
        shots=place["shots"],
        method=place["method"],
        labels_per_class=float(labels["labels_per_class"].mean()),
        overlap=overlap,
        over=over,
        n=n,
        expected=len(units),
        by_split=dict(zip(splits, values_RS.mean(axis=0).tolist(), strict=True)),
        mean=math.nan if reduced is None else reduced.mean,
        sd=math.nan if reduced is None else reduced.sd,
        low=low,
        high=high,
        interval=interval,
        block=float(_units(laid(smaller), over).mean()) if whole and smaller else math.nan,
        block_metric=smaller,
        first=answers.first if whole and answers is not None else math.nan,
        published=layout.published(
            place["dataset"], place["method"], place["shots"], place["stream"]
        ),
        cells=tuple(mine["cell"]),
        runs=tuple(str(each) for each in mine["run"].dropna()),
        values_RS=values_RS,
        resamples=tuple(resamples),
        answers=answers if whole else None,
        read=tuple((split, run, each) for split, run, each in single if each is not None),
    )


def _check_scores(answers: Answers | None, values_RS: np.ndarray, whose: str) -> None:
    """Refuse predictions that say something else than the scores of their runs."""
    if answers is None:
        return
    for right, value in zip(answers.right, values_RS.mean(axis=0).tolist(), strict=True):
        found = 100 * float(np.mean(right))
        if abs(found - value) > TOLERANCE:
            raise ValueError(
                f"{whose}: the stored predictions give {found:.4f} % where the scores say {value:.4f} %; one of the two was "
                "altered, so run these cells again"
            )


def _over(shots: str, share: float, num_resamples: int, num_splits: int) -> Over:
    # All of a pool is one subset, however often it is drawn: only seeds differ. A share of nan is not known.
    if shots != "all" and num_resamples > 1 and not share >= 1:
        return "resamples"
    if num_splits > 1:
        return "splits"
    return "seeds" if num_resamples > 1 else ""


def _units(values_RS: np.ndarray, over: Over) -> np.ndarray:
    """What is averaged in the end; nan where anything of it is missing."""
    if over == "splits":
        return np.asarray(values_RS.mean(axis=0))
    return np.asarray(values_RS.mean(axis=1))


def _reduced(units: np.ndarray, overlap: float) -> Mean:
    return mean_interval(units.tolist(), overlap=overlap)


def _compared(line: Line, lines: Sequence[Line], layout: Layout) -> Line:
    """The line with what it is compared with, as far as there are such lines."""
    at = {
        (each.method, each.stream): each
        for each in lines
        if (each.dataset, each.shots) == (line.dataset, line.shots)
    }
    found = []
    for method, streams in layout.compared(line.method, line.stream):
        other = next((at[method, each] for each in streams if (method, each) in at), None)
        if other is not None:
            found.append(
                Against(
                    method=method,
                    stream=other.stream,
                    comparison=_comparison(line, other),
                    cells=other.cells,
                )
            )
    against, also = [*found, None, None][:2]
    return replace(line, against=against, also=also)


def _comparison(line: Line, other: Line) -> Comparison | None:
    """Line minus other, over what both are over; None where anything of it is missing."""
    if list(line.by_split) != list(other.by_split):
        raise ValueError(
            f"{line.whose} is on splits {', '.join(map(str, line.by_split))}, and {other.method} on {other.stream}, which it is "
            f"compared with, on {', '.join(map(str, other.by_split))}; compare the same splits"
        )
    if not (line.complete and other.complete):
        return None
    if "resamples" in (line.over, other.over):
        shared = [each for each in line.resamples if each in other.resamples]
        if not shared:
            return None
        differences = [_of(line, each) - _of(other, each) for each in shared]
        return paired_t(differences, overlap=line.overlap)
    if line.answers is None or other.answers is None:
        return None
    if line.answers.lists != other.answers.lists:
        raise ValueError(
            f"{line.whose} and {other.method} on {other.stream}, which it is compared with, answered different test videos"
        )
    found = over_videos(other.answers.right, line.answers.right, line.answers.lists)
    scored = line.mean - other.mean
    if abs(found.difference - scored) > TOLERANCE:
        raise ValueError(
            f"{line.whose} minus {other.method} on {other.stream} is {scored:.4f} points by the scores and {found.difference:.4f} "
            "by the stored predictions; one of the two was altered, so run these cells again"
        )
    return found


def _of(line: Line, resample: int) -> float:
    return float(line.values_RS[line.resamples.index(resample)].mean())


def _adjusted(lines: list[Line]) -> list[Line]:
    """The same with every p adjusted over all of them (Holm)."""
    adjusted = iter(
        holm(
            [
                math.nan if each.comparison is None else each.comparison.p
                for line in lines
                for each in line.comparisons
            ]
        )
    )

    def told(against: Against | None) -> Against | None:
        return None if against is None else replace(against, p_holm=next(adjusted))

    return [replace(line, against=told(line.against), also=told(line.also)) for line in lines]
