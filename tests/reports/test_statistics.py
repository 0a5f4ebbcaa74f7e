"""Intervals and tests against scipy, statsmodels, enumeration, loops, and simulated data whose truth is known."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from reports.statistics import (
    DRAWS,
    holm,
    mean_interval,
    mean_over_videos,
    over_videos,
    overlap_over_splits,
    paired_t,
    widening,
)

REPEATS = 2000


def close_to(share: float, count: int) -> tuple[float, float]:
    """Where a share of `count` draws lies but for once in ten thousand times."""
    low, high = stats.binom.interval(1 - 1e-4, count, share)
    return low / count, high / count


# Over resamples


def test_without_overlap_mean_and_interval_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).normal(50, 4, 10)
    found = mean_interval(values.tolist())
    low, high = stats.t.interval(0.95, 9, loc=values.mean(), scale=stats.sem(values))
    assert (found.mean, found.sd, found.n) == (
        pytest.approx(values.mean()),
        pytest.approx(np.std(values, ddof=1)),
        10,
    )
    assert (found.low, found.high) == pytest.approx((low, high))


def test_without_overlap_the_paired_test_is_that_of_scipy() -> None:
    a, b = np.random.default_rng(1).normal(50, 4, (2, 7))
    oracle = stats.ttest_rel(b, a)
    found = paired_t((b - a).tolist())
    interval = oracle.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx(
        (oracle.pvalue, interval.low, interval.high)
    )
    assert (found.test, found.n) == ("t", 7)


@pytest.mark.parametrize(("train", "test", "count"), [(90, 10, 10), (50, 50, 15), (2, 1, 3)])
def test_shared_test_sets_are_the_case_that_nadeau_and_bengio_give(
    train: int, test: int, count: int
) -> None:
    assert widening(test / (test + train), count) == pytest.approx(1 / count + test / train)


def test_the_corrected_t_is_the_t_of_a_variance_that_was_widened() -> None:
    values = [1.0, 2.5, 3.0, -0.5, 2.0]
    s2 = sum((v - 1.6) ** 2 for v in values) / 4
    t = 1.6 / math.sqrt(s2 * (1 / 5 + 10 / 30))  # 10 of 40 videos
    found = paired_t(values, overlap=10 / 40)
    assert found.p == pytest.approx(2 * stats.t.cdf(-t, 4))
    assert found.test == "corrected t"
    half = stats.t.ppf(0.975, 4) * math.sqrt(s2 * (1 / 5 + 1 / 3))
    assert (found.low, found.high) == pytest.approx((1.6 - half, 1.6 + half))
    # The interval holds 0 exactly if p is above 0.05.
    assert (found.low < 0) == (found.p > 0.05)


def test_one_value_has_neither_spread_nor_interval() -> None:
    found = mean_interval([3.0], overlap=0.3)
    assert (found.mean, found.n) == (3.0, 1)
    assert all(math.isnan(each) for each in (found.sd, found.low, found.high))
    alone = paired_t([3.0])
    assert math.isnan(alone.p)
    assert alone.test == ""


@pytest.mark.parametrize(
    "values",
    # What is equal by hand differs in the last digit: 43.333 - 41.667 and 41.667 - 40
    [[2.0] * 5, [130 / 3 - 125 / 3, 125 / 3 - 40, 40 - 115 / 3], [0.0, 0.0], [7.1e-15, 0.0, 0.0]],
)
def test_values_that_are_equal_but_for_rounding_prove_nothing(values: list[float]) -> None:
    found = paired_t(values)
    assert math.isnan(found.p)
    assert math.isnan(found.low)
    assert mean_interval(values).sd == 0


def test_swapped_methods_have_the_same_p_and_the_negative_interval() -> None:
    values = np.random.default_rng(2).normal(1, 3, 9)
    here, there = (paired_t((sign * values).tolist(), overlap=0.4) for sign in (1, -1))
    assert (here.p, here.low, here.high) == pytest.approx((there.p, -there.high, -there.low))


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf, 2.0]])
def test_no_mean_of_nothing_or_of_a_hole(values: list[float]) -> None:
    with pytest.raises(ValueError, match="no finite numbers: a mean needs"):
        mean_interval(values)


@pytest.mark.parametrize("overlap", [-0.1, 1.0, math.nan])
def test_an_overlap_is_a_share_below_one(overlap: float) -> None:
    with pytest.raises(ValueError, match="from 0 to below 1"):
        widening(overlap, 10)


def test_counts_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 resample"):
        widening(0.1, 0)
    with pytest.raises(ValueError, match="at least 1 split"):
        overlap_over_splits(0.1, 0)
    with pytest.raises(ValueError, match="shares are from 0 to 1"):
        overlap_over_splits(1.1, 3)


def drawn_subsets(rng: np.random.Generator, pools: np.ndarray, resamples: int, shots: int) -> np.ndarray:  # fmt: skip
    """Sums over `shots` of the K videos of each pool (R, K), drawn anew for each resample: (R, J)."""
    order = rng.random((len(pools), resamples, pools.shape[1])).argpartition(shots - 1, axis=2)
    return np.take_along_axis(pools[:, None, :], order[:, :, :shots], axis=2).sum(axis=2)


def covered(results: np.ndarray, truth: float, overlap: float) -> float:
    """The share of rows (R, J) whose interval holds the truth."""
    found = [mean_interval(row, overlap=overlap) for row in results.tolist()]
    return float(np.mean([each.low <= truth <= each.high for each in found]))


@pytest.mark.parametrize(
    ("resamples", "shots", "pool", "uncorrected"), [(10, 10, 40, 0.8), (10, 16, 20, 0.4), (3, 8, 40, 0.93)]
)  # fmt: skip
def test_the_corrected_interval_covers_what_other_training_videos_would_give(
    resamples: int, shots: int, pool: int, uncorrected: float
) -> None:
    rng = np.random.default_rng(3)
    pools = rng.normal(
        0.7, 1, (REPEATS, pool)
    )  # what each training video adds; the population's mean is 0.7
    results = drawn_subsets(rng, pools, resamples, shots)
    low, high = close_to(0.95, REPEATS)
    assert low <= covered(results, 0.7 * shots, shots / pool) <= high
    assert covered(results, 0.7 * shots, 0.0) < uncorrected


def test_noise_of_the_seed_makes_the_corrected_interval_wide_and_never_narrow() -> None:
    rng = np.random.default_rng(4)
    pools = rng.normal(0, 1, (REPEATS, 40))
    results = drawn_subsets(rng, pools, 10, 10) + rng.normal(0, 3, (REPEATS, 10))
    assert covered(results, 0.0, 10 / 40) > 0.97
    assert covered(results, 0.0, 0.0) < 0.93


def test_p_of_the_corrected_t_is_below_a_level_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    results = drawn_subsets(rng, rng.normal(0, 1, (REPEATS, 40)), 10, 10)
    p = np.array([paired_t(row, overlap=10 / 40).p for row in results.tolist()])
    plain = np.array([paired_t(row).p for row in results.tolist()])
    for level in (0.05, 0.2):
        low, high = close_to(level, REPEATS)
        assert low <= (p < level).mean() <= high
        assert (plain < level).mean() > 2 * level


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_means_over_splits_are_covered_with_the_share_of_their_training_lists(
    shared: float,
) -> None:
    """Three splits of 40 videos each; any two have `shared` of them in common, and each draws its own 10."""
    rng = np.random.default_rng(6)
    common = round(40 * shared)
    videos = rng.normal(0, 1, (REPEATS, common + 3 * (40 - common)))
    own = [range(common + s * (40 - common), common + (s + 1) * (40 - common)) for s in range(3)]
    results = np.mean(
        [drawn_subsets(rng, videos[:, [*range(common), *mine]], 10, 10) for mine in own], axis=0
    )
    low, high = close_to(0.95, REPEATS)
    right = overlap_over_splits(10 / 40, 3, shared=shared)
    assert low <= covered(results, 0.0, right) <= high
    # The default is the largest: it covers at least as often, and the share on one split does not where lists are alike.
    assert covered(results, 0.0, overlap_over_splits(10 / 40, 3)) >= low
    assert (covered(results, 0.0, 10 / 40) < low) == (shared > 0)


def test_over_one_split_or_with_nothing_or_all_in_common_overlap_stays() -> None:
    assert overlap_over_splits(0.3, 1) == pytest.approx(0.3)
    assert overlap_over_splits(0.3, 5, shared=0.0) == pytest.approx(0.3)
    assert overlap_over_splits(0.0, 3) == 0
    assert overlap_over_splits(1.0, 3) == 1


# Over videos


def ids(count: int) -> list[str]:
    return [f"v{place}" for place in range(count)]


def answers(*, both: int, gained: int, lost: int, neither: int) -> tuple[list[int], list[int]]:
    first = [1] * both + [0] * gained + [1] * lost + [0] * neither
    second = [1] * both + [1] * gained + [0] * lost + [0] * neither
    return first, second


@pytest.mark.parametrize(("gained", "lost"), [(12, 3), (40, 41), (0, 7), (1, 0), (5, 5)])
def test_one_answer_each_is_mcnemars_exact_test(gained: int, lost: int) -> None:
    first, second = answers(both=60, gained=gained, lost=lost, neither=20)
    found = over_videos([first], [second], [ids(len(first))])
    assert found.p == pytest.approx(mcnemar([[60, lost], [gained, 20]], exact=True).pvalue)
    assert (found.test, found.n) == ("McNemar", len(first))
    assert found.difference == pytest.approx(100 * (gained - lost) / len(first))


def test_two_methods_that_answer_alike_do_not_differ() -> None:
    first = [1, 0, 1]
    one = over_videos([first], [first], [ids(3)])
    several = over_videos([[0.5, 0.2]], [[0.5, 0.2]], [ids(2)])
    for found in (one, several):
        assert (found.difference, found.p) == (0, 1)
        assert math.isnan(found.low)  # equal answers are no evidence that others would be equal too
        assert math.isnan(found.high)


def by_all_signs(differences: Sequence[float]) -> float:
    observed = abs(sum(differences)) - 1e-9
    sums = [
        abs(sum(sign * each for sign, each in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(each >= observed for each in sums) / len(sums)


def test_few_videos_with_several_answers_are_tested_by_all_signs() -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        first, second = rng.integers(0, 4, (2, 8)) / 3
        found = over_videos([first.tolist()], [second.tolist()], [ids(8)])
        assert found.p == pytest.approx(by_all_signs((second - first).tolist()))
        assert found.test == "randomisation over videos"


def test_on_several_lists_a_video_of_a_short_one_weighs_more() -> None:
    """One answer each, yet no count of videos as McNemar's: the lists have 4 and 8."""
    first, second = (
        [[0.0] * 4, [1.0] * 5 + [0.0] * 3],
        [[1.0, 1.0, 1.0, 0.0], [0.0] * 2 + [1.0] * 6],
    )
    found = over_videos(first, second, [ids(4), [f"w{place}" for place in range(8)]])
    parts = [1 / 8] * 3 + [-1 / 16] * 2 + [1 / 16] * 3
    assert found.p == pytest.approx(by_all_signs(parts))
    assert found.test == "randomisation over videos"


def test_where_every_video_gains_alike_there_is_a_p_and_no_interval() -> None:
    lists = [ids(5), [f"w{place}" for place in range(50)]]
    found = over_videos([[0.0] * 5, [0.0] * 50], [[1.0] * 5, [1.0] * 50], lists)
    assert found.difference == pytest.approx(100)
    assert (found.test, found.p) == ("randomisation over videos", pytest.approx(1 / (DRAWS + 1)))
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_one_list_answered_once_has_wilsons_interval() -> None:
    for right, count in ((70, 100), (299, 300), (300, 300), (0, 7)):
        found = mean_over_videos([[1.0] * right + [0.0] * (count - right)], [ids(count)])
        expected = proportion_confint(right, count, method="wilson")
        assert (found.low / 100, found.high / 100) == pytest.approx(expected)
        assert found.low <= found.mean <= found.high
        assert found.interval == "Wilson over videos"


@pytest.mark.parametrize("truth", [0.9, 0.99, 0.997])
def test_wilsons_interval_holds_near_the_ceiling(truth: float) -> None:
    """Every count that 300 videos can give, weighed by its probability; the bootstrap holds in 58 % of cases at 0.997."""
    held = 0.0
    for right in range(230, 301):
        found = mean_over_videos([[1.0] * right + [0.0] * (300 - right)], [ids(300)])
        inside = found.low <= 100 * truth <= found.high
        held += inside * float(stats.binom.pmf(right, 300, truth))
    assert 0.92 < held <= 1


def test_several_lists_that_are_all_right_have_no_interval() -> None:
    found = mean_over_videos([[1.0] * 5, [1.0] * 50], [ids(5), ids(50)])
    assert (found.mean, found.interval) == (pytest.approx(100), "")
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_many_videos_are_tested_by_drawn_signs() -> None:
    rng = np.random.default_rng(8)
    first, second = rng.binomial(3, [[0.5], [0.55]], (2, 40)) / 3
    found = over_videos([first.tolist()], [second.tolist()], [ids(40)])
    signs = rng.choice([1.0, -1.0], size=(20_000, 40))
    differences = second - first
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean()
    assert 0.001 < exact < 0.2
    assert found.p == pytest.approx(exact, abs=4 * math.sqrt(exact / DRAWS))


def test_the_smallest_p_that_draws_can_give_is_not_zero() -> None:
    found = over_videos([[0.0, 0.5] * 50], [[1.0, 1.0] * 50], [ids(100)])
    assert found.p == pytest.approx(1 / (DRAWS + 1))


def loop_bootstrap(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    lists: Sequence[Sequence[str]],
    draws: int,
) -> tuple[float, float]:
    """Draws videos one by one; a list's answers weigh 1 over its length, and a draw is divided by the weights in it."""
    rng = np.random.default_rng(9)
    everyone = sorted(set(itertools.chain(*lists)))
    parts = {video: [0.0, 0.0] for video in everyone}
    for mine, one, other in zip(lists, first, second, strict=True):
        for video, before, after in zip(mine, one, other, strict=True):
            parts[video][0] += (after - before) / len(mine)
            parts[video][1] += 1 / len(mine)
    found = []
    for _ in range(draws):
        drawn = [
            parts[everyone[place]] for place in rng.integers(len(everyone), size=len(everyone))
        ]
        found.append(100 * sum(each[0] for each in drawn) / sum(each[1] for each in drawn))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


Answers = tuple[list[list[float]], list[list[float]], list[list[str]]]


def overlapping_lists(seed: int) -> Answers:
    """Three lists of different lengths that share videos; three runs a video."""
    rng = np.random.default_rng(seed)
    lists = [[f"v{place}" for place in rng.permutation(90)[:size]] for size in (30, 45, 60)]
    first = [(rng.binomial(3, 0.5, len(mine)) / 3).tolist() for mine in lists]
    second = [(rng.binomial(3, 0.6, len(mine)) / 3).tolist() for mine in lists]
    return first, second, lists


def test_the_interval_is_that_of_a_bootstrap_written_as_a_loop() -> None:
    first, second, lists = overlapping_lists(10)
    found = over_videos(first, second, lists)
    low, high = loop_bootstrap(first, second, lists, 4000)
    # A percentile of 4,000 draws has an error of about 0.04 of the interval's half width.
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.06 * (high - low))
    assert found.n == len(set(itertools.chain(*lists)))


def test_the_difference_is_the_mean_over_lists_of_each_lists_mean() -> None:
    first, second, lists = overlapping_lists(11)
    by_hand = [np.mean(b) - np.mean(a) for a, b in zip(first, second, strict=True)]
    assert over_videos(first, second, lists).difference == pytest.approx(100 * np.mean(by_hand))


@pytest.mark.parametrize("seed", [12, 13])
def test_neither_the_order_of_videos_nor_that_of_lists_changes_a_number(seed: int) -> None:
    first, second, lists = overlapping_lists(seed)
    order = [np.random.default_rng(1).permutation(len(mine)) for mine in lists]
    turned = [
        [[part[place] for place in mine] for part, mine in zip(each, order, strict=True)][::-1]
        for each in (first, second, lists)
    ]
    here, there = over_videos(first, second, lists), over_videos(turned[0], turned[1], turned[2])
    assert there.difference == pytest.approx(here.difference)
    assert (there.low, there.high, there.p) == (here.low, here.high, here.p)


def evenly_split() -> Answers:
    """As much for one as for the other, video by video."""
    gains = np.random.default_rng(21).random(60)
    shares = [[*gains, *np.zeros(60)], [*np.zeros(60), *gains]]
    return [list(map(float, shares[0]))], [list(map(float, shares[1]))], [ids(120)]


@pytest.mark.parametrize("given", [overlapping_lists(14), overlapping_lists(15), evenly_split()])
def test_swapped_methods_have_the_negative_difference_and_interval_and_the_same_p(
    given: Answers,
) -> None:
    first, second, lists = given
    here, there = over_videos(first, second, lists), over_videos(second, first, lists)
    assert there.difference == -here.difference
    assert (there.low, there.high, there.p) == (-here.high, -here.low, here.p)


@pytest.fixture
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the draws: an interval that is made hundreds of times need not be smooth."""
    monkeypatch.setattr("reports.statistics.DRAWS", DRAWS // 5)


def simulated(rng: np.random.Generator, videos: int, gain: float, runs: int) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Answers of two methods to videos of which some are easy for both: shares of right answers (2, V)."""
    easy = rng.beta(0.7, 0.5, videos)
    right = np.clip(easy + gain * rng.random(videos), 0, 1)
    return rng.binomial(runs, easy) / runs, rng.binomial(runs, right) / runs


def true_gain(gain: float) -> float:
    rng = np.random.default_rng(16)
    easy = rng.beta(0.7, 0.5, 400_000)
    return float(100 * (np.clip(easy + gain * rng.random(len(easy)), 0, 1) - easy).mean())


@pytest.mark.usefixtures("fewer_draws")
@pytest.mark.parametrize("runs", [1, 3])
def test_the_bootstrap_covers_what_other_test_videos_would_give(runs: int) -> None:
    rng = np.random.default_rng(17)
    truth, repeats, held = true_gain(0.1), 600, 0
    for _ in range(repeats):
        first, second = simulated(rng, 300, 0.1, runs)
        found = over_videos([first.tolist()], [second.tolist()], [ids(300)])
        held += found.low <= truth <= found.high
    low, high = close_to(0.95, repeats)
    assert low <= held / repeats <= high


@pytest.mark.usefixtures("fewer_draws")
def test_videos_of_several_lists_are_covered_as_one_sample() -> None:
    """Each video stands on two of three lists: taken as independent, its answers would seem to be twice as many."""
    rng = np.random.default_rng(18)
    truth, repeats, held, apart = true_gain(0.1), 400, 0, 0
    names = ids(240)
    lists = [names[:160], names[80:], names[160:] + names[:80]]
    for _ in range(repeats):
        first, second = (dict(zip(names, each.tolist(), strict=True)) for each in simulated(rng, 240, 0.1, 1))  # fmt: skip
        one, other = ([[each[video] for video in mine] for mine in lists] for each in (first, second))  # fmt: skip
        found = over_videos(one, other, lists)
        held += found.low <= truth <= found.high
        alone = over_videos(one, other, [[f"{at}{video}" for video in mine] for at, mine in enumerate(lists)])  # fmt: skip
        apart += alone.low <= truth <= alone.high
    low, high = close_to(0.95, repeats)
    assert low <= held / repeats <= high
    assert apart / repeats < low


@pytest.mark.usefixtures("fewer_draws")
@pytest.mark.parametrize("runs", [1, 3])
def test_p_over_videos_is_below_a_level_no_more_often_than_it_says(runs: int) -> None:
    rng = np.random.default_rng(19)
    repeats = 600
    p = []
    for _ in range(repeats):
        first, second = simulated(rng, 200, 0.0, runs)
        p.append(over_videos([first.tolist()], [second.tolist()], [ids(200)]).p)
    for level in (0.05, 0.2):
        low, high = close_to(level, repeats)
        below = np.mean([each <= level for each in p])
        assert below <= high
        if runs > 1:  # McNemar's p has few values, and stays below its level
            assert below >= low


def test_what_does_not_fit_is_refused() -> None:
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: over_videos([], [], []), "give as many of each, at least 1"),
        (lambda: over_videos([[1]], [[1], [0]], [["a"]]), "give as many of each"),
        (lambda: over_videos([[1]], [[1, 0]], [["a"]]), "has 1 and 2 answers"),
        (lambda: over_videos([[]], [[]], [[]]), "a test list of 0 videos"),
        (lambda: over_videos([[1, 0]], [[1, 0]], [["a", "a"]]), "names a video twice"),
        (lambda: over_videos([[1.0]], [[math.nan]], [["a"]]), "not between 0"),
        (lambda: over_videos([[100.0]], [[0.0]], [["a"]]), "not between 0"),
    ]
    for call, sentence in refused:
        with pytest.raises(ValueError, match=sentence):
            call()


# Over a table


def test_holm_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(20)
    for count in (1, 2, 7, 30):
        p = rng.beta(0.4, 2, count)
        assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1].tolist())
    assert holm([0.02, 0.02, 0.9]) == pytest.approx([0.06, 0.06, 0.9])


def test_holm_passes_over_rows_without_a_test() -> None:
    found = holm([0.01, math.nan, 0.04])
    assert (found[0], found[2]) == pytest.approx((0.02, 0.04))
    assert math.isnan(found[1])
    assert holm([]) == []


@pytest.mark.parametrize("p", [-0.01, 1.2])
def test_holm_refuses_what_is_no_p(p: float) -> None:
    with pytest.raises(ValueError, match="p values are from 0 to 1"):
        holm([0.5, p])
