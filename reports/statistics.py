"""Means, intervals and paired tests: what may be concluded from resampled subsets, and from test videos.

Two questions are kept apart, as their answers rest on different samples:

- *Would other labelled training videos say the same?* Several resamples, each with its own labelled subset, tested
  on one list: `mean_interval` and `paired_t`. Subsets of one pool overlap, so their results are alike, and the plain t
  interval is too narrow; both take the overlap and widen it (`widening`, `overlap_over_splits`).
- *Would other test videos say the same?* Two methods that answered the same videos: `over_videos`, an exact McNemar test
  on one test list with one run of each, else a randomisation test over videos, and a paired bootstrap interval either way.
  One method alone: `mean_over_videos`.

What neither covers, and how a report says which one it shows: docs/statistics.md.

Shapes: J resamples, V test videos, G kinds of videos that are alike in all that counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

CONFIDENCE = 0.95
"""Of every interval."""
DRAWS = 10_000
"""Of a bootstrap, and of a randomisation test: the smallest p it can give is 1 / (DRAWS + 1)."""
AT_ONCE = 2_000_000
"""Random numbers held in memory together."""
NO_SPREAD = 1e-9
"""An sd up to here (in points, or relative to the largest value) is rounding: such values do not vary at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """A mean over resamples; what does not exist is nan: the sd of one number, an interval without any spread."""

    mean: float
    sd: float
    """ddof = 1."""
    n: int
    low: float
    high: float
    interval: str
    """What the interval is from, as a table says it; empty where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A paired difference, its interval and its p value (two-sided); nan where there is none."""

    difference: float
    low: float
    high: float
    p: float
    n: int
    """Pairs: resamples, or test videos."""
    test: str
    """Which test gave p, as a table says it; empty if none could."""


def widening(overlap: float, count: int) -> float:
    """By what the variance of one resample is multiplied to give that of the mean over `count` of them.

    Nadeau & Bengio (2003, "Inference for the generalization error", sec. 3 and 5): with correlation rho between any two
    results the variance of their mean is s^2 (1 / J + rho / (1 - rho)), s^2 the sample variance (ddof = 1). They set rho to
    the share of the data that two resampled test sets have in common in the mean, n_test / (n_test + n_train), so that
    rho / (1 - rho) = n_test / n_train. Here all resamples are tested on one list, and what two of them share is training
    videos: rho is the expected share of a subset that another one has, k of K videos a class: rho / (1 - rho) = k / (K - k).
    It is exact for a result that is a sum over training videos; whatever else varies from run to run (the seed of the
    weights) makes results less alike than that, and the interval wider than it need be. Where each result is a mean over
    several splits: `overlap_over_splits`.

    Args:
        overlap: rho; 0 for independent resamples.
        count: J.

    Raises:
        ValueError: for an overlap outside [0, 1), or less than one resample.
    """
    if not 0 <= overlap < 1:
        raise ValueError(
            f"overlap={overlap}: it is the share of a training subset that another one has, from 0 to below 1"
        )
    if count < 1:
        raise ValueError(f"count={count}: a mean is over at least 1 resample")
    return 1 / count + overlap / (1 - overlap)


def overlap_over_splits(overlap: float, splits: int, *, shared: float = 1.0) -> float:
    """The correlation rho of two resamples whose results are means over several splits, each with a subset of its own.

    Averaging over S splits evens out which videos were drawn, but not which ones could be: a video that is in the training
    lists of several splits counts in each. With rho_1 = k / K on one split, and c the share of a split's training list that
    another split's has, for a result that is a sum over training videos:

        rho / (1 - rho) = (1 + (S - 1) c) rho_1 / (1 - rho_1).

    Args:
        overlap: rho_1, from 0 to 1.
        splits: S.
        shared: c. The default is its largest value, at which the interval is widest: for three official splits of UCF-101
            c is near 0.6, and the interval is at most a sixth too wide.

    Raises:
        ValueError: for shares outside [0, 1], or less than one split.
    """
    if not (0 <= overlap <= 1 and 0 <= shared <= 1):
        raise ValueError(f"overlap={overlap}, shared={shared}: shares are from 0 to 1")
    if splits < 1:
        raise ValueError(f"splits={splits}: a mean is over at least 1 split")
    counted = 1 + (splits - 1) * shared
    return counted * overlap / (counted * overlap + 1 - overlap)


def mean_interval(values: Sequence[float], *, overlap: float = 0.0) -> Mean:
    """Mean, sd and t interval over resamples.

    Args:
        values: J results, one a resample.
        overlap: see `widening`.

    Returns:
        The mean; without an interval where nothing varies (one resample, or equal values): equal numbers are no evidence that
        another one would be equal too.

    Raises:
        ValueError: when there is no value, or one is not finite.
    """
    checked = _checked(values)
    n, mean = len(checked), float(checked.mean())
    if n < 2:
        return Mean(mean=mean, sd=math.nan, n=n, low=math.nan, high=math.nan, interval="")
    sd = float(checked.std(ddof=1))
    if sd <= NO_SPREAD * max(1.0, float(np.abs(checked).max())):
        return Mean(mean=mean, sd=0.0, n=n, low=math.nan, high=math.nan, interval="")
    half = _quantile(n) * sd * math.sqrt(widening(overlap, n))
    name = "corrected t" if overlap else "t"
    return Mean(mean=mean, sd=sd, n=n, low=mean - half, high=mean + half, interval=name)


def paired_t(differences: Sequence[float], *, overlap: float = 0.0) -> Comparison:
    """Whether a mean paired difference over resamples is 0: Student's t, corrected for overlapping resamples.

    Args:
        differences: J differences, one a resample.
        overlap: see `widening`.

    Returns:
        The comparison; with one resample, or differences that do not vary at all, there is neither interval nor p.

    Raises:
        ValueError: when there is no difference, or one is not finite.
    """
    found = mean_interval(differences, overlap=overlap)
    p = math.nan
    if found.n > 1 and found.sd > 0:
        t = found.mean / (found.sd * math.sqrt(widening(overlap, found.n)))
        p = float(2 * stats.t.sf(abs(t), found.n - 1))
    return Comparison(
        difference=found.mean,
        low=found.low,
        high=found.high,
        p=p,
        n=found.n,
        test=found.interval,
    )


def over_videos(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    lists: Sequence[Sequence[str]],
) -> Comparison:
    """Whether two methods differ on test videos: `second` minus `first`, mean over the test lists, in percentage points.

    A video may be on several lists (HMDB-51's overlap): all its answers are drawn together, so it counts as one. Each list
    weighs the same in the difference, whatever its length; in a draw of videos it weighs by how many of its own were drawn.

    Args:
        first: for each test list, of each of its videos the share of right answers (1 or 0; in between for several runs).
        second: the same of the other method.
        lists: for each test list, the ids of its videos, in the order of the answers.

    Returns:
        The comparison with a 95 % percentile bootstrap interval over videos; without one where all videos differ by the same,
        as every draw of them says the same. p is of the exact McNemar test (binomial, two-sided)
        where there is one list and every video has one answer of each method, and else of a randomisation test that flips
        the sign of videos' differences, exact where few differ. Draws are seeded: the same answers give the same numbers,
        in whatever order, and with both methods swapped their negatives.

    Raises:
        ValueError: when the lists do not fit each other, a list is empty or names a video twice, or an answer is no share.
    """
    if not lists or len(first) != len(lists) or len(second) != len(lists):
        raise ValueError(
            f"{len(first)} and {len(second)} lists of answers for {len(lists)} lists of videos: give as many of each, at least 1"
        )
    places: dict[str, int] = {}
    for ids in lists:
        for each in ids:
            places.setdefault(each, len(places))
    # Both in units of 1 / V, so that they are of order 1.
    weight_V = np.zeros(len(places))  # of a video in the mean over lists of the lists' means
    share_V = np.zeros(len(places))  # its part of the difference
    one_answer = len(lists) == 1
    for ids, one, other in zip(lists, first, second, strict=True):
        if not len(ids) == len(one) == len(other) or not len(ids):
            raise ValueError(
                f"a test list of {len(ids)} videos has {len(one)} and {len(other)} answers: each of its videos has one of each"
            )
        if len(set(ids)) < len(ids):
            raise ValueError("a test list names a video twice: every video is answered once")
        at = np.array([places[each] for each in ids])
        answers = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
        if not all(bool(((each >= 0) & (each <= 1)).all()) for each in answers):
            raise ValueError("an answer is not between 0 (wrong) and 1 (right): give shares")
        one_answer &= all(bool(np.isin(each, (0.0, 1.0)).all()) for each in answers)
        weight = len(places) / (len(ids) * len(lists))
        share_V[at] += (answers[1] - answers[0]) * weight
        weight_V[at] += weight
    difference = float(share_V.mean())
    # Equal parts are made equal to the last digit, so that they are counted as one kind of video.
    share_V, weight_V = np.round(share_V, 12) + 0.0, np.round(weight_V, 12)
    low, high = math.nan, math.nan
    if np.ptp(share_V / weight_V) > NO_SPREAD:
        low, high = _bootstrap(share_V, weight_V)
    if one_answer:
        better, worse = int((share_V > 0).sum()), int((share_V < 0).sum())
        p = float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0
    else:
        p = _randomisation(share_V)
    return Comparison(
        difference=100 * difference,
        low=100 * low,
        high=100 * high,
        p=p,
        n=len(places),
        test="McNemar" if one_answer else "randomisation over videos",
    )


def mean_over_videos(right: Sequence[Sequence[float]], lists: Sequence[Sequence[str]]) -> Mean:
    """How often one method is right on test videos: the mean over the test lists, in percent, and its interval.

    Args:
        right: for each test list, of each of its videos the share of right answers (1 or 0; in between for several seeds).
        lists: for each test list, the ids of its videos, in the order of the answers.

    Returns:
        The mean with a 95 % interval over videos; n is their number, and sd nan: no spread over resamples is meant here.
        Of one list with one answer each it is Wilson's (1927) for a share, which holds near 0 and 100 %, and at them; else a
        percentile bootstrap, videos of several lists drawn as one, and none where all answers are the same.

    Raises:
        ValueError: as `over_videos`.
    """
    # Against a method that is never right: the same mean, the same videos drawn.
    found = over_videos([[0.0] * len(each) for each in right], right, lists)
    low, high, name = found.low, found.high, "bootstrap over videos"
    if found.test == "McNemar":  # one list, one answer each
        count = round(sum(right[0]))
        wilson = stats.binomtest(count, found.n).proportion_ci(CONFIDENCE, method="wilson")
        # At 0 and 100 % the mean is an end, but for rounding.
        low = min(100 * float(wilson.low), found.difference)
        high, name = max(100 * float(wilson.high), found.difference), "Wilson over videos"
    return Mean(
        mean=found.difference,
        sd=math.nan,
        n=found.n,
        low=low,
        high=high,
        interval="" if math.isnan(low) else name,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979): p values that hold for a whole table at once, in the order given.

    A nan is no test and stays one.

    Raises:
        ValueError: for a number that is no p value.
    """
    if any(p < 0 or p > 1 for p in p_values):
        raise ValueError(f"{list(p_values)}: p values are from 0 to 1")
    tested = [place for place, p in enumerate(p_values) if not math.isnan(p)]
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(tested, key=lambda each: p_values[each])):
        largest = max(largest, min(1.0, (len(tested) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _bootstrap(share_V: np.ndarray, weight_V: np.ndarray) -> tuple[float, float]:
    """Percentile interval of sum(share) / sum(weight) over videos drawn with replacement."""
    here, there = _kinds(share_V, weight_V), _kinds(-share_V, weight_V)
    # One of the two directions is drawn, whichever was asked for: swapped methods get the same interval, negated.
    low, high = _percentiles(max(here, there))
    if here == there:
        return (low - high) / 2, (high - low) / 2
    return (low, high) if here > there else (-high, -low)


def _kinds(share_V: np.ndarray, weight_V: np.ndarray) -> list[list[float]]:
    """How many videos there are of each share and weight: [share, weight, count], sorted, (G, 3)."""
    pairs_G2, count_G = np.unique(
        np.stack([share_V + 0.0, weight_V], axis=1), axis=0, return_counts=True
    )
    return np.column_stack([pairs_G2, count_G]).tolist()  # type: ignore[no-any-return]


def _percentiles(kinds: list[list[float]]) -> tuple[float, float]:
    """The bootstrap itself: how many of each kind are among V drawn videos is multinomial, and a few numbers instead of V."""
    share_G, weight_G, count_G = np.array(kinds).T
    videos = int(count_G.sum())
    random = np.random.default_rng(0)
    found = []
    rows = max(1, AT_ONCE // len(kinds))
    for start in range(0, DRAWS, rows):
        drawn = random.multinomial(videos, count_G / videos, size=min(rows, DRAWS - start))
        found.append((drawn @ share_G) / (drawn @ weight_G))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(found), [tail, 100 - tail])
    return float(low), float(high)


def _randomisation(share_V: np.ndarray) -> float:
    """Two-sided p of a sum when every video's difference has a random sign.

    All signs where there are at most `DRAWS` ways to set them, else `DRAWS` draws, with the observed one as one more.
    """
    differing = np.sort(np.abs(share_V[share_V != 0]))
    observed = abs(float(share_V.sum())) - 1e-9  # sums that are equal but for rounding are equal
    if 2 ** len(differing) <= DRAWS:
        ways = np.arange(2 ** len(differing))[:, None] >> np.arange(len(differing)) & 1
        return float((np.abs((2 * ways - 1) @ differing) >= observed).mean())
    # Of c videos with differences of one size, the number of pluses is binomial: one draw a size instead of one a video.
    size_G, count_G = np.unique(differing, return_counts=True)
    random = np.random.default_rng(0)
    extreme = 0
    rows = max(1, AT_ONCE // len(size_G))
    for start in range(0, DRAWS, rows):
        plus = random.binomial(count_G, 0.5, size=(min(rows, DRAWS - start), len(size_G)))
        extreme += int((np.abs((2 * plus - count_G) @ size_G) >= observed).sum())
    return (extreme + 1) / (DRAWS + 1)


def _quantile(n: int) -> float:
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1))


def _checked(values: Sequence[float]) -> np.ndarray:
    checked = np.asarray(values, dtype=float)
    if not len(checked) or not np.isfinite(checked).all():
        raise ValueError(
            f"{len(checked)} values, of which {int((~np.isfinite(checked)).sum())} are no finite numbers: a mean needs at "
            "least 1, and no hole"
        )
    return checked
