"""Two sides compared: means, paired differences, classes, and the videos whose answer changed. Always the second minus the first.

Which cells are paired is decided in `reports.pairing`, how it is shown in `reports.comparison_tables`. Shapes: V test videos,
C classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.evidence import Value
from reports.pairing import Pair, Pairing, Side, pair
from reports.predicted import Predicted, predicted
from reports.statistics import Comparison, holm, over_videos, overlap_over_splits, paired_t

METRIC = "video_accuracy"
POINT = ("dataset", "stream", "shots", "method")
LINES = (
    *POINT,
    *("labels_per_class", "n", "expected", "first", "second", "difference", "ci_low", "ci_high"),
    *("test", "p", "p_holm", "overlap", "wrong_to_right", "right_to_wrong", "answers"),
)
SCORES = (*POINT, "split", "resample", "metric", "unit", "first", "second", "difference", "first_cell", "second_cell")  # fmt: skip
CLASSES = (*POINT, "class", "videos", "first", "second", "difference")
VIDEOS = (
    *(*POINT, "split", "resample", "video", "class", "change"),
    *("first_answer", "first_probability", "second_answer", "second_probability"),
    *("first_probability_of_class", "second_probability_of_class", "runs", "of_runs"),
)
GAINED, LOST = "wrong to right", "right to wrong"
SAME = "same cells"
"""Stands for a test where both sides are the very same runs: there is nothing to test."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """What a comparison found; frames may be empty."""

    lines: pd.DataFrame
    """`LINES`: one line per (dataset, stream, shots), and method where several are compared; percent and points."""
    scores: pd.DataFrame
    """`SCORES`: every metric of every pair that has it on both sides."""
    classes: pd.DataFrame
    """`CLASSES`: percent of right answers by true class over all pairs of a line, largest changes first."""
    videos: pd.DataFrame
    """`VIDEOS`: one line per pair and video whose answer became right or wrong; the largest change first."""
    pairing: Pairing
    without: tuple[tuple[Mapping[str, object], ...], tuple[Mapping[str, object], ...]]
    """Paired cells of either side that have no accepted result."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Answered:
    """What both sides answered at one place."""

    pair: Pair
    first: Predicted
    second: Predicted


def compare(first: Side, second: Side) -> Compared:
    """Compare two sides.

    Raises:
        ValueError: when nothing can be paired, no pair has a result on both sides, or two runs answered different videos.
    """
    pairing = pair(first, second)
    values = _Values(first, second)
    without = tuple(
        tuple(cell for cell in cells if not values.has(at, cell))
        for at, cells in enumerate(
            ([each.first for each in pairing.pairs], [each.second for each in pairing.pairs])
        )
    )
    scores = _scores(pairing, values)
    if scores.empty:
        raise ValueError(
            f"no pair of {first.name} and {second.name} has a result on both sides yet: there is nothing to compare"
        )
    lines, classes, videos = [], [], []
    for point, pairs in _by_point(pairing).items():
        if not any(values.both(each, METRIC) for each in pairs):
            continue
        complete, expected = _complete(pairs, values)
        answered = _answered(first, second, [each for some in complete.values() for each in some])
        lines.append({**dict(zip(POINT, point, strict=True)), **_line(pairs, complete, expected, values, answered)})  # fmt: skip
        if answered:
            names = first.evidence.classes.get(point[0]) or second.evidence.classes.get(point[0])
            classes += _classes(point, answered, names)
            videos += _changes(point, answered, names)
    frame = pd.DataFrame.from_records(lines, columns=list(LINES))
    frame["p_holm"] = holm(frame["p"].astype(float).tolist())
    by_class = pd.DataFrame.from_records(classes, columns=list(CLASSES))
    order = by_class["difference"].abs().sort_values(ascending=False, kind="stable").index
    changed = pd.DataFrame.from_records(videos, columns=list(VIDEOS))
    change = changed["second_probability_of_class"] - changed["first_probability_of_class"]
    return Compared(
        lines=frame,
        scores=scores,
        classes=by_class.loc[order].reset_index(drop=True),
        videos=changed.loc[change.astype(float).abs().sort_values(ascending=False, kind="stable").index].reset_index(drop=True),
        pairing=pairing,
        without=(without[0], without[1]),
    )  # fmt: skip


class _Values:
    """Scores of both sides by cell and metric."""

    def __init__(self, first: Side, second: Side) -> None:
        self._rows: tuple[dict[str, dict[str, Mapping[str, Value]]], ...] = ({}, {})
        for rows, side in zip(self._rows, (first, second), strict=True):
            for row in side.evidence.rows:
                rows.setdefault(str(row["cell"]), {})[str(row["metric"])] = row

    def has(self, at: int, cell: Mapping[str, object]) -> bool:
        return str(cell["cell"]) in self._rows[at]

    def both(self, pair: Pair, metric: str) -> tuple[float, float] | None:
        found = []
        for rows, cell in zip(self._rows, pair.cells, strict=True):
            value = rows.get(cell, {}).get(metric, {}).get("value")
            if value is None or isinstance(value, str) or not math.isfinite(value):
                return None
            found.append(float(value))
        return found[0], found[1]

    def same(self, pair: Pair) -> bool:
        """Whether both sides have one accepted run of one cell; a cell that was run in two folders has two."""
        one, other = (
            {row["run"] for row in rows.get(cell, {}).values()}
            for rows, cell in zip(self._rows, pair.cells, strict=True)
        )
        return pair.cells[0] == pair.cells[1] and one == other

    def metrics(self, pair: Pair) -> list[tuple[str, str]]:
        """Metrics that both sides have in the same unit, and the unit."""
        one, other = (
            {metric: str(row["unit"]) for metric, row in rows.get(key, {}).items()}
            for rows, key in zip(self._rows, pair.cells, strict=True)
        )
        return [(metric, unit) for metric, unit in one.items() if other.get(metric) == unit]


def _by_point(pairing: Pairing) -> dict[tuple[str, str, str, str], list[Pair]]:
    points: dict[tuple[str, str, str, str], list[Pair]] = {}
    for each in pairing.pairs:
        points.setdefault(pairing.point(each), []).append(each)
    return points


def _complete(pairs: Sequence[Pair], values: _Values) -> tuple[dict[int, list[Pair]], int]:
    """The pairs of every resample that has both scores on all of its splits, by resample; and how many resamples there are."""
    by_resample: dict[int, list[Pair]] = {}
    for each in pairs:
        by_resample.setdefault(each.resample, []).append(each)
    splits = {each.split for each in pairs}
    complete = {
        resample: some
        for resample, some in by_resample.items()
        if {each.split for each in some} == splits and all(values.both(each, METRIC) for each in some)
    }  # fmt: skip
    return complete, len(by_resample)


def _line(
    asked: Sequence[Pair],
    complete: Mapping[int, Sequence[Pair]],
    expected: int,
    values: _Values,
    answered: Sequence[_Answered],
) -> dict[str, object]:
    """Means over the complete resamples, each first averaged over its splits, and their paired difference."""
    pairs = [each for some in complete.values() for each in some]
    both = [
        [values.both(each, METRIC) or (math.nan, math.nan) for each in some]
        for some in complete.values()
    ]
    means = np.array([np.mean(some, axis=0) for some in both]).reshape(-1, 2)
    labels = _mean(asked, "labels_per_class")
    share = labels / _mean(asked, "pool_per_class")
    splits = len({each.split for each in asked})
    overlap = share if math.isnan(share) else overlap_over_splits(min(share, 1.0), splits)
    resampled = str(asked[0].first.get("shots", "all")) != "all"
    # All of a pool is one subset, however often it is drawn: then only other test videos can be spoken of. What is asked
    # must not depend on how many runs are there yet.
    by_resample = resampled and expected > 1 and not overlap >= 1
    same = bool(pairs) and all(values.same(each) for each in pairs)
    found: Comparison | None = None
    if by_resample and len(complete) > 1 and not same:
        found = paired_t(
            (means[:, 1] - means[:, 0]).tolist(), overlap=0.0 if math.isnan(overlap) else overlap
        )
    elif answered and not by_resample and not same:
        found = _over_videos(answered)
    gained = sum(int((~each.first.right & each.second.right).sum()) for each in answered)
    lost = sum(int((each.first.right & ~each.second.right).sum()) for each in answered)
    one, other = means.mean(axis=0) if len(means) else (math.nan, math.nan)
    return {
        "labels_per_class": labels,
        "n": len(complete),
        "expected": expected,
        "first": one,
        "second": other,
        "difference": other - one,
        "ci_low": found.low if found else math.nan,
        "ci_high": found.high if found else math.nan,
        "test": found.test if found else SAME if same else "",
        "p": found.p if found else math.nan,
        "overlap": overlap if by_resample and found else math.nan,
        "wrong_to_right": gained if answered else None,
        "right_to_wrong": lost if answered else None,
        "answers": sum(len(each.first.videos) for each in answered) if answered else None,
    }


def _mean(pairs: Sequence[Pair], name: str) -> float:
    """Mean of a column over pairs; nan where one does not say it."""
    found = [each.first.get(name) for each in pairs]
    numbers = [float(each) for each in found if isinstance(each, int | float)]
    return float(np.mean(numbers)) if numbers and len(numbers) == len(found) else math.nan


def _answered(first: Side, second: Side, pairs: Sequence[Pair]) -> list[_Answered]:
    """Both sides' answers; none at all if one run of them kept none.

    Raises:
        ValueError: when two runs at one place answered different videos.
    """
    found = []
    for each in pairs:
        one, other = each.cells
        try:
            answers = predicted(first.evidence, one), predicted(second.evidence, other)
        except FileNotFoundError:
            return []
        if answers[0] is None or answers[1] is None:
            return []
        if answers[0].videos != answers[1].videos or not np.array_equal(answers[0].labels, answers[1].labels):  # fmt: skip
            raise ValueError(
                f"cells {one[:16]} and {other[:16]} were tested on different videos or labels: their answers cannot be compared"
            )
        found.append(_Answered(pair=each, first=answers[0], second=answers[1]))
    return found


def _over_videos(answered: Sequence[_Answered]) -> Comparison:
    """Over the test videos of all splits; of several runs on a split the share of right answers."""
    by_split: dict[int, list[_Answered]] = {}
    for each in answered:
        by_split.setdefault(each.pair.split, []).append(each)
    lists = list(by_split.values())
    return over_videos(
        [np.mean([each.first.right for each in some], axis=0).tolist() for some in lists],
        [np.mean([each.second.right for each in some], axis=0).tolist() for some in lists],
        [some[0].first.videos for some in lists],
    )


def _scores(pairing: Pairing, values: _Values) -> pd.DataFrame:
    records = []
    for each in pairing.pairs:
        for metric, unit in values.metrics(each):
            both = values.both(each, metric)
            if both is not None:
                place = (*pairing.point(each), each.split, each.resample, metric, unit)
                records.append((*place, *both, both[1] - both[0], *each.cells))
    return pd.DataFrame.from_records(records, columns=list(SCORES))


def _classes(
    point: tuple[str, ...], answered: Sequence[_Answered], names: Sequence[str] | None
) -> list[tuple[object, ...]]:
    """Percent of right answers of each class, over the videos of all pairs; `videos` counts each video once."""
    labels = np.concatenate([each.first.labels for each in answered])
    right = [
        np.concatenate([getattr(each, side).right for each in answered])
        for side in ("first", "second")
    ]
    ids = np.concatenate([np.array(each.first.videos) for each in answered])
    found = []
    for label in np.unique(labels).tolist():
        mine = labels == label
        one, other = (100 * float(each[mine].mean()) for each in right)
        count = len(np.unique(ids[mine]))
        found.append((*point, _name(names, label), count, one, other, other - one))
    return found


def _changes(
    point: tuple[str, ...], answered: Sequence[_Answered], names: Sequence[str] | None
) -> list[dict[str, object]]:
    """One record per pair and video whose answer became right or wrong."""
    found: list[dict[str, object]] = []
    times: dict[tuple[object, ...], int] = {}
    tested: dict[tuple[int, str], int] = {}
    for each in answered:
        for video in each.first.videos:
            tested[each.pair.split, video] = tested.get((each.pair.split, video), 0) + 1
        rows = np.flatnonzero(each.first.right != each.second.right)
        for row in rows.tolist():
            label = int(each.first.labels[row])
            change = GAINED if each.second.right[row] else LOST
            video = each.first.videos[row]
            one, other = int(each.first.chosen[row]), int(each.second.chosen[row])
            key = (each.pair.split, video, change)
            times[key] = times.get(key, 0) + 1
            found.append(
                {
                    **dict(zip(POINT, point, strict=True)),
                    "split": each.pair.split,
                    "resample": each.pair.resample,
                    "video": video,
                    "class": _name(names, label),
                    "change": change,
                    "first_answer": _name(names, one),
                    "first_probability": float(each.first.probabilities[row, one]),
                    "second_answer": _name(names, other),
                    "second_probability": float(each.second.probabilities[row, other]),
                    "first_probability_of_class": float(each.first.probabilities[row, label]),
                    "second_probability_of_class": float(each.second.probabilities[row, label]),
                }
            )
    for record in found:
        split, video = int(str(record["split"])), str(record["video"])
        record["runs"] = times[split, video, record["change"]]
        record["of_runs"] = tested[split, video]
    return found


def _name(names: Sequence[str] | None, label: int) -> str:
    return names[label] if names and label < len(names) else str(label)
