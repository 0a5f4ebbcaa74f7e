"""Means, spreads and counts: from joined cells to the numbers a figure shows.

One order of reduction everywhere: first the mean over the splits *within* one resample, then mean, sd, min and max
*over* resamples. A resample with a missing split is incomplete and is left out whole; it is counted, never filled in.
Cells of different streams are never averaged.

Three columns say how much an interval may be believed: `over` is what it is over ("subsets", "seeds", "test videos"), `overlap`
the correlation rho of resamples that it was widened for (`reports.statistics.widening`): the share of training videos that two
subsets have in common, 1 where all resamples train on the same videos, so that only the seed differs and the interval is the plain
t interval over seeds, and empty where the cells do not say how large the pool is, so that the interval is too narrow.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from reports.evidence import Evidence
from reports.join import join
from reports.predicted import difference_over_videos
from reports.published import published
from reports.statistics import (
    Comparison,
    holm,
    overlap_over_splits,
    paired_t,
)

CURVE = (
    *("dataset", "stream", "method", "shots", "labels_per_class", "n", "expected"),
    *(
        "mean",
        "sd",
        "ci_low",
        "ci_high",
        "over",
        "overlap",
        "min",
        "max",
        "published",
        "metric",
        "unit",
    ),
)
BY_SPLIT = (*CURVE[:5], "split", *CURVE[5:])
PAIRED = (
    *("dataset", "stream", "shots", "labels_per_class", "n", "expected"),
    *(
        "mean_difference",
        "sd",
        "ci_low",
        "ci_high",
        "p",
        "p_holm",
        "test",
        "over",
        "over_n",
        "overlap",
    ),
    "published_difference",
)

SUBSETS, SEEDS, TEST_VIDEOS = "subsets", "seeds", "test videos"
"""What an interval is over."""

PUBLISHED_METRIC = "video_accuracy"
"""The only metric the paper prints for classifiers; a block accuracy beside it would compare unlike things."""
TOLERANCE = 1e-6
"""Percentage points by which a difference of predictions may differ from that of the scores, by rounding."""


def curve(evidence: Evidence, metric: str, *, artefact: str = "fig12") -> pd.DataFrame:
    """One line per (dataset, stream, method, number of labelled videos), over resamples of the labelled subset.

    Args:
        evidence: The cells and the scores.
        metric: Name of the metric, in the unit of its rows (percent for accuracies).
        artefact: The artefact of the paper whose published values stand beside ours.

    Returns:
        The columns of `CURVE`. `n` counts complete resamples and `expected` those there should be; `mean` is empty for
        n = 0, `sd` (ddof = 1) for n < 2, the 95 % interval `ci_low` to `ci_high` where nothing varies. `labels_per_class` is
        the mean over splits. Sorted by dataset, by stream and method in the order of `evidence.expected`, and by
        labels_per_class.

    Raises:
        ValueError: See `reports.join.join`; also if one resample is expected on other splits than another.
    """
    return evidence.once(
        ("curve", metric, artefact), lambda: _curve(evidence, metric, artefact=artefact)
    )


def _curve(evidence: Evidence, metric: str, *, artefact: str) -> pd.DataFrame:
    cells = join(evidence, metric)
    _check_equal_splits(cells)
    point = ["dataset", "stream", "method", "shots"]
    lines = _over_resamples(cells, point)
    if metric == PUBLISHED_METRIC:
        lines["published"] = [
            published(artefact, dataset, method, shots, modality=stream)
            for dataset, stream, method, shots in lines[point].itertuples(index=False)
        ]
    return _finished(lines, cells, CURVE)


def by_split(evidence: Evidence, metric: str) -> pd.DataFrame:
    """As `curve`, one line per split; `published` stays empty because the paper prints no number per split.

    Returns:
        The columns of `BY_SPLIT`: those of `CURVE` with `split` after `labels_per_class`.
    """
    cells = join(evidence, metric)
    return _finished(
        _over_resamples(cells, ["dataset", "stream", "method", "shots", "split"]), cells, BY_SPLIT
    )


def paired(
    evidence: Evidence, metric: str, treatment: str, baseline: str, *, artefact: str = "fig12"
) -> pd.DataFrame:
    """Treatment minus baseline on the same resample: mean difference, its 95 % interval and its p.

    With few labels both are of Student's t over resamples, corrected for the training videos that they share
    (`reports.statistics.paired_t`): they speak of other training videos, tested on the same list. At "all" there are no
    other training videos. There both are over test videos, from what the runs predicted, the share of right answers over
    seeds (`reports.statistics.over_videos`): they speak of other test videos, given these trained models. Without
    predictions, or for another metric than `PUBLISHED_METRIC`, they are of the plain t over seeds.

    Args:
        evidence: The cells, the scores, and where predictions are.
        metric: Name of the metric.
        treatment: Method label of the minuend.
        baseline: Method label of the subtrahend.
        artefact: The artefact of the paper whose published values are subtracted likewise.

    Returns:
        The columns of `PAIRED`, in units of the metric (percentage points for accuracies); one line per (dataset, stream,
        number of labelled videos) at which both methods are expected. `expected` counts the resamples both should
        have, `n` those both have complete. `sd` (ddof = 1) is over resamples, empty for n < 2. `over_n` counts what the
        interval is over, `test` names what gave p, `p_holm` is p adjusted for all lines.

    Raises:
        ValueError: If no cell is expected of one of the two methods, or predictions contradict the scores.
    """
    return evidence.once(
        ("paired", metric, treatment, baseline, artefact),
        lambda: _paired(evidence, metric, treatment, baseline, artefact),
    )


def _paired(
    evidence: Evidence, metric: str, treatment: str, baseline: str, artefact: str
) -> pd.DataFrame:
    cells = join(evidence, metric)
    labels = list(dict.fromkeys(cells["method"]))
    for method in (treatment, baseline):
        if method not in labels:
            raise ValueError(
                f"no cell has the method {method!r}; the methods here are {', '.join(labels)}"
            )
    pairs = cells[cells["method"] == treatment].merge(
        cells[cells["method"] == baseline],
        on=["dataset", "stream", "shots", "split", "resample"],
        suffixes=("", "_baseline"),
    )
    pairs["value"] = pairs["value"] - pairs["value_baseline"]
    point = ["dataset", "stream", "shots"]
    lines = _over_resamples(pairs, point, evidence if metric == PUBLISHED_METRIC else None)
    lines["p_holm"] = holm(lines["p"].tolist())
    if metric == PUBLISHED_METRIC:
        lines["published_difference"] = [
            _difference(
                published(artefact, data, treatment, shots, modality=stream),
                published(artefact, data, baseline, shots, modality=stream),
            )
            for data, stream, shots in lines[point].itertuples(index=False)
        ]
    lines = lines.rename(columns={"mean": "mean_difference"})
    return _finished(lines, pairs, PAIRED)


def _within_resample(cells: pd.DataFrame, point: Sequence[str]) -> pd.DataFrame:
    """Mean over the splits of each resample of a point; empty as soon as one split is missing."""
    grouped = cells.groupby([*point, "resample"], sort=False)["value"]
    means = grouped.mean().where(grouped.count() == grouped.size())
    return means.reset_index()


def _over_resamples(
    cells: pd.DataFrame, point: Sequence[str], evidence: Evidence | None = None
) -> pd.DataFrame:
    """Counts, moments, intervals and tests against 0 over the complete resamples of each point.

    Args:
        cells: Joined cells, or pairs of them with their difference as the value.
        point: The columns that make a line.
        evidence: Where the predictions of pairs are; None where there is none to look at.
    """
    resamples = _within_resample(cells, point)
    lines = (
        resamples.groupby(list(point), sort=False)["value"]
        .agg(n="count", expected="size", mean="mean", sd="std", min="min", max="max")
        .reset_index()
    )
    values = resamples.groupby(list(point), sort=False)["value"]
    mine = cells.groupby(list(point), sort=False)
    found = []
    for place in lines[list(point)].itertuples(index=False):
        here = mine.get_group(tuple(place))
        complete = values.get_group(tuple(place)).dropna().to_numpy()
        found.append(_interval(here, complete, evidence))
    told = ("labels_per_class", "ci_low", "ci_high", "p", "test", "over", "over_n", "overlap")
    return lines.join(pd.DataFrame(found, columns=list(told)))


def _interval(
    cells: pd.DataFrame, complete: np.ndarray, evidence: Evidence | None
) -> dict[str, float | str]:
    """What one line says beyond its moments.

    Args:
        cells: The cells (or pairs) of the line.
        complete: The values of its complete resamples.
        evidence: See `_over_resamples`.
    """
    overlap = _overlap(cells)
    told: dict[str, float | str] = {
        # With "all", splits differ by a few videos.
        "labels_per_class": cells.drop_duplicates("split")["labels_per_class"].mean(),
        "overlap": overlap,
        "over_n": 0,
    }
    if not len(complete):
        return told
    over = SEEDS if overlap == 1 else SUBSETS
    correction = 0.0 if math.isnan(overlap) or overlap == 1 else overlap
    found = paired_t(complete.tolist(), overlap=correction)
    if evidence is not None and overlap == 1:
        answered = _over_test_videos(evidence, cells)
        if answered is not None:
            over, found = TEST_VIDEOS, answered
    if math.isnan(found.p):
        return told
    return told | {
        "ci_low": found.low,
        "ci_high": found.high,
        "p": found.p,
        "test": found.test,
        "over": over,
        "over_n": found.n,
    }


def _overlap(cells: pd.DataFrame) -> float:
    """The correlation rho of a line's resamples by the training videos that they share; nan where the pool is not known."""
    splits = cells.drop_duplicates("split")
    if (splits["shots"] == "all").all():
        return 1.0
    share = (splits["labels_per_class"] / splits["pool_per_class"]).mean(skipna=False)
    return share if math.isnan(share) else overlap_over_splits(min(1.0, share), len(splits))


def _over_test_videos(evidence: Evidence, pairs: pd.DataFrame) -> Comparison | None:
    """The pairs of complete resamples compared over test videos, from what both runs predicted; None without predictions.

    Raises:
        ValueError: When the predictions give another difference than the scores.
    """
    complete = pairs.groupby("resample")["value"].transform(lambda each: each.notna().all())
    whole = pairs[complete.astype(bool)]
    lists = [
        (mine["cell_baseline"].tolist(), mine["cell"].tolist())
        for _, mine in whole.groupby("split")
    ]
    if not all(cell in evidence.kept for both in lists for cells in both for cell in cells):
        return None
    found = difference_over_videos(evidence, lists)
    scored = float(whole["value"].mean())
    if found is not None and abs(found.difference - scored) > TOLERANCE:
        one, other = whole["method"].iloc[0], whole["method_baseline"].iloc[0]
        raise ValueError(
            f"{one} minus {other} is {scored:.4f} points by the scores and {found.difference:.4f} by the stored predictions: "
            "one of the two is not what the runs left; `harness verify` says which cell"
        )
    return found


def _finished(lines: pd.DataFrame, cells: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Fill the constant columns, sort, and put the columns in their order."""
    lines = lines.assign(
        metric=cells["metric"].iloc[0] if len(cells) else "",
        unit=cells["unit"].iloc[0] if len(cells) else "",
    )
    for name in columns:
        if name not in lines:
            lines[name] = np.nan
    ranks = []
    for name in ("stream", "method"):  # in the order in which they were first seen
        if name in lines:
            order = {each: place for place, each in enumerate(dict.fromkeys(cells[name]))}
            lines[f"{name}_rank"] = lines[name].map(order)
            ranks.append(f"{name}_rank")
    by = ["dataset", *ranks, "labels_per_class", "shots", *(["split"] if "split" in lines else [])]
    lines = lines.sort_values(by, kind="stable")[list(columns)].reset_index(drop=True)
    floats = [name for name in ("published", "published_difference") if name in columns]
    return lines.astype(dict.fromkeys(floats, float))


def _check_equal_splits(cells: pd.DataFrame) -> None:
    """Refuse a plan in which the resamples of one point would be averaged over different splits."""
    splits: dict[tuple[str, ...], dict[int, set[int]]] = {}
    points = cells[["dataset", "stream", "method", "shots"]].itertuples(index=False, name=None)
    for point, resample, split in zip(points, cells["resample"], cells["split"], strict=True):
        splits.setdefault(point, {}).setdefault(resample, set()).add(split)
    for place, splits_of in splits.items():
        first, *others = splits_of.items()
        for other in others:
            if other[1] != first[1]:
                raise ValueError(
                    f"{', '.join(place)}: resample {first[0]} is expected on splits {sorted(first[1])}, resample "
                    f"{other[0]} on {sorted(other[1])}; a mean over both would mix splits, so expect the same splits "
                    "of every resample"
                )


def _difference(treatment: float | None, baseline: float | None) -> float | None:
    """Published difference, where both are printed; rounded to the one decimal the paper prints."""
    if treatment is None or baseline is None:
        return None
    return round(treatment - baseline, 1)
