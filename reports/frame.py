"""Means, spreads and counts: from joined cells to the numbers a figure shows.

One order of reduction everywhere: first the mean over the splits *within* one resample, then mean, sd, min and max
*over* resamples. A resample with a missing split is incomplete and is left out whole; it is counted, never filled in.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped]

from reports.evidence import Evidence
from reports.join import join
from reports.published import published

CURVE = (
    *("dataset", "method", "shots", "labels_per_class", "n", "expected"),
    *("mean", "sd", "min", "max", "published", "metric", "unit"),
)
BY_SPLIT = (*CURVE[:4], "split", *CURVE[4:])
PAIRED = (
    *("dataset", "shots", "labels_per_class", "n", "expected"),
    *("mean_difference", "sd", "ci_low", "ci_high", "published_difference"),
)

PUBLISHED_METRIC = "video_accuracy"
"""The only metric the paper prints for classifiers; a block accuracy beside it would compare unlike things."""


def curve(evidence: Evidence, metric: str, *, artefact: str = "fig12") -> pd.DataFrame:
    """One line per (dataset, method, number of labelled videos), over resamples of the labelled subset.

    Args:
        evidence: The cells and the scores.
        metric: Name of the metric, in the unit of its rows (percent for accuracies).
        artefact: The artefact of the paper whose published values stand beside ours.

    Returns:
        The columns of `CURVE`. `n` counts complete resamples and `expected` those there should be; `mean` is empty for
        n = 0, `sd` (ddof = 1) for n < 2. `labels_per_class` is the mean over splits. Sorted by dataset, by method in
        the order of `evidence.expected`, and by labels_per_class.

    Raises:
        ValueError: See `reports.join.join`; also if one resample is expected on other splits than another.
    """
    cells = join(evidence, metric)
    _check_equal_splits(cells)
    point = ["dataset", "method", "shots"]
    lines = _over_resamples(_within_resample(cells, point), point)
    lines["labels_per_class"] = _labels_per_class(cells, lines, point)
    if metric == PUBLISHED_METRIC:
        streams = cells.groupby(point, sort=False)["stream"].first()
        lines["published"] = [
            published(artefact, *place, modality=stream)
            for *place, stream in lines.join(streams, on=point)[[*point, "stream"]].itertuples(
                index=False
            )
        ]
    return _finished(lines, cells, CURVE)


def by_split(evidence: Evidence, metric: str) -> pd.DataFrame:
    """As `curve`, one line per split; `published` stays empty because the paper prints no number per split.

    Returns:
        The columns of `BY_SPLIT`: those of `CURVE` with `split` after `labels_per_class`.
    """
    cells = join(evidence, metric)
    point = ["dataset", "method", "shots", "split"]
    lines = _over_resamples(_within_resample(cells, point), point)
    lines["labels_per_class"] = _labels_per_class(cells, lines, point)
    return _finished(lines, cells, BY_SPLIT)


def paired(
    evidence: Evidence, metric: str, treatment: str, baseline: str, *, artefact: str = "fig12"
) -> pd.DataFrame:
    """Treatment minus baseline on the same resample: mean difference and its 95 % interval.

    The interval is the two-sided t interval over resamples, mean +- t(0.975, n - 1) sd / sqrt(n). Two cautions belong
    to it. The subsets of different resamples overlap and are tested on the same videos, so the differences are not
    independent and the interval is too narrow (Nadeau & Bengio, 2003, "Inference for the generalization error"). And it
    speaks of drawing the labelled training subset again for one test list, not of new test videos.

    Args:
        evidence: The cells and the scores.
        metric: Name of the metric.
        treatment: Method label of the minuend.
        baseline: Method label of the subtrahend.
        artefact: The artefact of the paper whose published values are subtracted likewise.

    Returns:
        The columns of `PAIRED`, in units of the metric (percentage points for accuracies); one line per (dataset,
        number of labelled videos) at which both methods are expected. `expected` counts the resamples both should
        have, `n` those both have complete. `sd` (ddof = 1) and the interval are empty for n < 2.

    Raises:
        ValueError: If no cell is expected of one of the two methods.
    """
    cells = join(evidence, metric)
    labels = list(dict.fromkeys(cells["method"]))
    for method in (treatment, baseline):
        if method not in labels:
            raise ValueError(
                f"no cell has the method {method!r}; the methods here are {', '.join(labels)}"
            )
    pairs = cells[cells["method"] == treatment].merge(
        cells[cells["method"] == baseline],
        on=["dataset", "shots", "split", "resample"],
        suffixes=("", "_baseline"),
    )
    pairs["value"] = pairs["value"] - pairs["value_baseline"]
    point = ["dataset", "shots"]
    lines = _over_resamples(_within_resample(pairs, point), point)
    lines["labels_per_class"] = _labels_per_class(pairs, lines, point)
    half = _t_half_width(lines["n"].to_numpy(dtype=float), lines["sd"].to_numpy(dtype=float))
    lines["ci_low"], lines["ci_high"] = lines["mean"] - half, lines["mean"] + half
    if metric == PUBLISHED_METRIC:
        streams = pairs.groupby(point, sort=False)["stream"].first()
        lines["published_difference"] = [
            _difference(
                published(artefact, data, treatment, shots, modality=stream),
                published(artefact, data, baseline, shots, modality=stream),
            )
            for data, shots, stream in lines.join(streams, on=point)[[*point, "stream"]].itertuples(
                index=False
            )
        ]
    lines = lines.rename(columns={"mean": "mean_difference"})
    return _finished(lines, pairs, PAIRED)


def _within_resample(cells: pd.DataFrame, point: Sequence[str]) -> pd.DataFrame:
    """Mean over the splits of each resample of a point; empty as soon as one split is missing."""
    grouped = cells.groupby([*point, "resample"], sort=False)["value"]
    means = grouped.mean().where(grouped.count() == grouped.size())
    return means.reset_index()


def _over_resamples(resamples: pd.DataFrame, point: Sequence[str]) -> pd.DataFrame:
    """Count and moments over the complete resamples of each point."""
    grouped = resamples.groupby(list(point), sort=False)["value"]
    return grouped.agg(
        n="count", expected="size", mean="mean", sd="std", min="min", max="max"
    ).reset_index()


def _labels_per_class(
    cells: pd.DataFrame, lines: pd.DataFrame, point: Sequence[str]
) -> "pd.Series[float]":
    """Mean over splits of the labelled videos per class: with "all", splits differ by a few videos."""
    once_per_split = cells.drop_duplicates(subset=list({*point, "split"}))
    means = once_per_split.groupby(list(point), sort=False)["labels_per_class"].mean().reset_index()
    return lines[list(point)].merge(means, on=list(point), how="left")["labels_per_class"]


def _finished(lines: pd.DataFrame, cells: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Fill the constant columns, sort, and put the columns in their order."""
    lines = lines.assign(
        metric=cells["metric"].iloc[0] if len(cells) else "",
        unit=cells["unit"].iloc[0] if len(cells) else "",
    )
    for name in columns:
        if name not in lines:
            lines[name] = np.nan
    rank = {method: place for place, method in enumerate(dict.fromkeys(cells["method"]))}
    lines["rank"] = lines["method"].map(rank) if "method" in lines else 0
    by = [n for n in ("dataset", "rank", "labels_per_class", "shots", "split") if n in lines]
    lines = lines.sort_values(by, kind="stable")[list(columns)].reset_index(drop=True)
    floats = [name for name in ("published", "published_difference") if name in columns]
    return lines.astype(dict.fromkeys(floats, float))


def _check_equal_splits(cells: pd.DataFrame) -> None:
    """Refuse a plan in which the resamples of one point would be averaged over different splits."""
    splits: dict[tuple[str, ...], dict[int, set[int]]] = {}
    points = zip(cells["dataset"], cells["method"], cells["shots"], strict=True)
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


def _t_half_width(n: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Half the width of the 95 % two-sided t interval; nan for n < 2."""
    enough = n >= 2
    safe = np.where(enough, n, 2.0)
    return np.where(enough, stats.t.ppf(0.975, safe - 1) * sd / np.sqrt(safe), np.nan)


def _difference(treatment: float | None, baseline: float | None) -> float | None:
    """Published difference, where both are printed; rounded to the one decimal the paper prints."""
    if treatment is None or baseline is None:
        return None
    return round(treatment - baseline, 1)
