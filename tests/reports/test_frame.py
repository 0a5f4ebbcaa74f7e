"""Means, spreads and counts against numbers worked out by hand, and intervals against scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from reports.frame import BY_SPLIT, CURVE, PAIRED, by_split, curve, paired
from reports.published import BASELINE, PRETRAINED, SINGLE_FRAME
from reports.statistics import over_videos

VIDEO = "video_accuracy"


def test_one_split_gives_mean_and_sd_over_resamples(build):
    points = curve(
        build({("digits", "a", "1", 1, r): v for r, v in enumerate([40, 44, 51])}), VIDEO
    )
    assert list(points.columns) == list(CURVE)
    (line,) = points.to_dict("records")
    assert (line["n"], line["expected"]) == (3, 3)
    assert line["mean"] == pytest.approx(45.0)
    # deviations -5, -1, 6: sum of squares 62, divided by 3 - 1
    assert line["sd"] == pytest.approx(math.sqrt(31.0))
    assert (line["min"], line["max"]) == (40.0, 51.0)
    assert (line["metric"], line["unit"]) == (VIDEO, "%")


def test_splits_are_averaged_within_a_resample_before_the_spread_is_taken(build):
    # Splits differ by 20 and resamples by 2: the spread must be that of the resamples alone.
    points = curve(
        build(
            {
                ("ucf101", "a", "1", 1, 0): 30.0,
                ("ucf101", "a", "1", 2, 0): 50.0,
                ("ucf101", "a", "1", 1, 1): 32.0,
                ("ucf101", "a", "1", 2, 1): 52.0,
            }
        ),
        VIDEO,
    )
    (line,) = points.to_dict("records")
    assert (line["n"], line["mean"]) == (2, 41.0)
    assert line["sd"] == pytest.approx(math.sqrt(2.0))


def test_a_resample_with_a_missing_split_is_left_out_whole_and_counted(build):
    points = curve(
        build(
            {
                ("ucf101", "a", "1", 1, 0): 30.0,
                ("ucf101", "a", "1", 2, 0): 50.0,
                ("ucf101", "a", "1", 1, 1): 90.0,
                ("ucf101", "a", "1", 2, 1): None,
            }
        ),
        VIDEO,
    )
    (line,) = points.to_dict("records")
    assert (line["n"], line["expected"], line["mean"]) == (1, 2, 40.0)
    assert math.isnan(line["sd"])


def test_a_point_without_any_complete_resample_has_no_mean(build):
    (line,) = curve(build({("digits", "a", "1", 1, 0): None}), VIDEO).to_dict("records")
    assert (line["n"], line["expected"]) == (0, 1)
    assert math.isnan(line["mean"])
    assert math.isnan(line["sd"])
    assert math.isnan(line["min"])


def test_lines_are_sorted_by_dataset_then_method_as_first_seen_then_videos(build):
    places = [
        ("ucf101", "z", "10", 1, 0),
        ("ucf101", "a", "10", 1, 0),
        ("digits", "a", "all", 1, 0),
        ("digits", "z", "2", 1, 0),
        ("digits", "a", "10", 1, 0),
        ("digits", "a", "2", 1, 0),
    ]
    points = curve(build(dict.fromkeys(places, 50.0)), VIDEO)
    assert [tuple(line) for line in points[["dataset", "method", "shots"]].to_numpy()] == [
        ("digits", "z", "2"),
        ("digits", "a", "2"),
        ("digits", "a", "10"),
        ("digits", "a", "all"),
        ("ucf101", "z", "10"),
        ("ucf101", "a", "10"),
    ]


def test_all_videos_of_several_splits_stand_at_their_mean_and_are_one_point(plan):
    plan.add(("ucf101", "a", "all", 1, 0), 70.0, labels=94.0)
    plan.add(("ucf101", "a", "all", 2, 0), 72.0, labels=96.0)
    (line,) = curve(plan.evidence(), VIDEO).to_dict("records")
    assert (line["labels_per_class"], line["mean"], line["n"]) == (95.0, 71.0, 1)


def test_published_values_stand_beside_video_accuracy_and_never_beside_block_accuracy(plan):
    place = ("ucf101", BASELINE, "1", 1, 0)
    plan.add(place, 31.0)
    plan.add(place, 20.0, metric="block_accuracy")
    plan.add(("ucf101", BASELINE, "2", 1, 0), 31.0)
    assert curve(plan.evidence(), VIDEO)["published"].tolist() == pytest.approx(
        [29.6, math.nan], nan_ok=True
    )
    assert curve(plan.evidence(), "block_accuracy")["published"].isna().all()


def test_a_resample_expected_on_fewer_splits_than_another_is_refused(build):
    values = {("ucf101", "a", "1", split, 0): 30.0 for split in (1, 2)}
    values["ucf101", "a", "1", 1, 1] = 30.0
    with pytest.raises(
        ValueError, match=r"resample 0 is expected on splits \[1, 2\], resample 1 on \[1\]"
    ):
        curve(build(values), VIDEO)


def test_by_split_keeps_the_splits_apart_and_shows_no_published_number(build):
    frame = by_split(
        build({("ucf101", BASELINE, "1", s, r): 10.0 * s + r for s in (1, 2) for r in (0, 1)}),
        VIDEO,
    )
    assert list(frame.columns) == list(BY_SPLIT)
    assert frame["split"].tolist() == [1, 2]
    assert frame["mean"].tolist() == [10.5, 20.5]
    assert frame["sd"].tolist() == pytest.approx([math.sqrt(0.5)] * 2)
    assert frame["published"].isna().all()


def test_paired_differences_match_resamples_by_number_and_not_by_position(build):
    frame = paired(
        build(
            {
                ("digits", "a", "1", 1, 0): 40.0,
                ("digits", "a", "1", 1, 1): 60.0,
                ("digits", "a + b", "1", 1, 1): 63.0,
                ("digits", "a + b", "1", 1, 0): 41.0,
            }
        ),
        VIDEO,
        "a + b",
        "a",
    )
    assert list(frame.columns) == list(PAIRED)
    (line,) = frame.to_dict("records")
    assert (line["n"], line["expected"]) == (2, 2)
    assert line["mean_difference"] == pytest.approx(2.0)
    assert line["sd"] == pytest.approx(math.sqrt(2.0))
    # t(0.975, 1) = 12.706 and sd / sqrt(2) = 1
    assert line["ci_low"] == pytest.approx(2.0 - 12.7062, abs=1e-4)
    assert line["ci_high"] == pytest.approx(2.0 + 12.7062, abs=1e-4)


def test_the_interval_is_that_of_scipy_over_split_averaged_resamples(build):
    rng = np.random.default_rng(3)
    a, b = rng.normal(50, 3, (2, 3, 10))  # method, split, resample
    values = {}
    for split in range(3):
        for resample in range(10):
            values["ucf101", "a", "4", split, resample] = a[split, resample]
            values["ucf101", "a + b", "4", split, resample] = b[split, resample]
    (line,) = paired(build(values), VIDEO, "a + b", "a").to_dict("records")
    difference = (b - a).mean(axis=0)
    oracle = stats.ttest_rel(b.mean(axis=0), a.mean(axis=0)).confidence_interval(0.95)
    assert line["mean_difference"] == pytest.approx(difference.mean())
    assert line["sd"] == pytest.approx(np.std(difference, ddof=1))
    assert (line["ci_low"], line["ci_high"]) == pytest.approx((oracle.low, oracle.high))


def test_a_pair_with_one_side_missing_is_counted_and_left_out(build):
    values = {("digits", m, "1", 1, r): 50.0 + r for m in ("a", "a + b") for r in range(3)}
    values["digits", "a", "1", 1, 1] = None
    (line,) = paired(build(values), VIDEO, "a + b", "a").to_dict("records")
    assert (line["n"], line["expected"], line["mean_difference"]) == (2, 3, 0.0)


def test_one_pair_has_a_difference_but_no_interval(build):
    values = {("digits", "a", "1", 1, 0): 50.0, ("digits", "a + b", "1", 1, 0): 53.0}
    (line,) = paired(build(values), VIDEO, "a + b", "a").to_dict("records")
    assert line["mean_difference"] == 3.0
    assert all(math.isnan(line[name]) for name in ("sd", "ci_low", "ci_high"))


def test_published_differences_are_subtracted_where_both_numbers_are_printed(build):
    values = {
        ("ucf101", method, shots, 1, 0): 50.0
        for method in (BASELINE, PRETRAINED)
        for shots in ("1", "2", "all")
    }
    frame = paired(build(values), VIDEO, PRETRAINED, BASELINE)
    assert frame["published_difference"].tolist() == pytest.approx(
        [4.7, math.nan, 1.3], nan_ok=True
    )


def test_a_method_that_is_not_expected_cannot_be_compared(build):
    with pytest.raises(
        ValueError, match="no cell has the method 'LSTM'; the methods here are single frame"
    ):
        paired(build({("digits", SINGLE_FRAME, "1", 1, 0): 1.0}), VIDEO, "LSTM", SINGLE_FRAME)


def test_nothing_expected_gives_empty_frames_with_all_columns(plan):
    assert list(curve(plan.evidence(), VIDEO).columns) == list(CURVE)
    assert list(by_split(plan.evidence(), VIDEO).columns) == list(BY_SPLIT)
    assert curve(plan.evidence(), VIDEO).empty


def pooled(plan, values, *, pool: float | None, shots: str = "4", splits=(1,), method="a") -> None:
    """One method's resamples, the same on every split, drawn from a pool."""
    more = {} if pool is None else {"pool_per_class": pool}
    for split in splits:
        for resample, value in enumerate(values):
            plan.add(("digits", method, shots, split, resample), value, **more)


VALUES = [50.0, 53.0, 51.5, 58.0]


def half_width(rho: float, values=VALUES) -> float:
    """Of the corrected interval, from its definition."""
    j = len(values)
    variance = float(np.var(values, ddof=1)) * (1 / j + rho / (1 - rho))
    return float(stats.t.ppf(0.975, j - 1)) * math.sqrt(variance)


def test_the_interval_of_a_mean_is_widened_by_the_share_of_the_pool_that_was_drawn(plan):
    pooled(plan, VALUES, pool=16.0)
    (line,) = curve(plan.evidence(), VIDEO).to_dict("records")
    assert (line["over"], line["overlap"]) == ("subsets", 0.25)
    half = half_width(4 / 16)
    assert (line["ci_low"], line["ci_high"]) == pytest.approx((53.125 - half, 53.125 + half))


def test_where_the_pool_is_not_known_the_interval_is_not_widened_and_says_so(plan):
    pooled(plan, VALUES, pool=None)
    (line,) = curve(plan.evidence(), VIDEO).to_dict("records")
    assert line["over"] == "subsets"
    assert math.isnan(line["overlap"])
    assert line["ci_high"] - line["mean"] == pytest.approx(half_width(0.0))


@pytest.mark.parametrize(("shots", "pool"), [("all", 60.0), ("all", None), ("4", 4.0)])
def test_where_all_resamples_train_on_the_same_videos_the_interval_is_over_seeds(plan, shots, pool):
    pooled(plan, VALUES, pool=pool, shots=shots)
    (line,) = curve(plan.evidence(), VIDEO).to_dict("records")
    assert (line["over"], line["overlap"]) == ("seeds", 1.0)
    assert line["ci_high"] - line["mean"] == pytest.approx(half_width(0.0))


def test_means_over_splits_share_what_their_training_lists_share_at_most(plan):
    # Sums over training videos, all in the lists of three splits: cov = k^2 / K, var = (k + 2 k^2 / K) / 3.
    pooled(plan, VALUES, pool=16.0, splits=(1, 2, 3))
    (line,) = curve(plan.evidence(), VIDEO).to_dict("records")
    rho = (4**2 / 16) / ((4 + 2 * 4**2 / 16) / 3)
    assert line["overlap"] == pytest.approx(rho)
    assert line["ci_high"] - line["mean"] == pytest.approx(half_width(rho))
    each = by_split(plan.evidence(), VIDEO)
    assert each["overlap"].tolist() == [0.25] * 3


def test_pools_of_different_sizes_enter_with_the_mean_of_their_shares(plan):
    for split, pool in ((1, 8.0), (2, 16.0)):
        for resample, value in enumerate(VALUES):
            plan.add(("digits", "a", "4", split, resample), value, pool_per_class=pool)
    (line,) = curve(plan.evidence(), VIDEO).to_dict("records")
    share = (4 / 8 + 4 / 16) / 2
    assert line["overlap"] / (1 - line["overlap"]) == pytest.approx(2 * share / (1 - share))


def test_streams_of_one_method_are_never_averaged(plan):
    for stream, value in (("rgb", 70.0), ("flow1", 50.0)):
        key = {"dataset": "ucf101", "method": BASELINE, "shots": "all", "split": 1, "resample": 0}
        cell = {"cell": stream, **key, "labels_per_class": 95.0, "stream": stream}
        plan.cells.append(cell)
        plan.rows.append({**cell, "run": stream, "metric": VIDEO, "value": value, "unit": "%"})
    frame = curve(plan.evidence(), VIDEO, artefact="table1")
    assert frame[["stream", "mean", "n", "published"]].to_numpy().tolist() == [
        ["rgb", 70.0, 1, 74.5],
        ["flow1", 50.0, 1, 74.3],
    ]


def test_a_paired_difference_is_tested_with_the_correction(plan):
    other = [49.0, 50.0, 51.0, 52.5]
    pooled(plan, other, pool=16.0, method="a")
    pooled(plan, VALUES, pool=16.0, method="a + b")
    (line,) = paired(plan.evidence(), VIDEO, "a + b", "a").to_dict("records")
    differences = [new - old for new, old in zip(VALUES, other, strict=True)]
    mean = sum(differences) / 4
    half = half_width(0.25, differences)
    assert (line["ci_low"], line["ci_high"]) == pytest.approx((mean - half, mean + half))
    t = mean / (half / float(stats.t.ppf(0.975, 3)))
    assert line["p"] == pytest.approx(2 * stats.t.sf(t, 3))
    assert line["p_holm"] == line["p"]  # one test is adjusted for itself
    assert (line["test"], line["over"], line["over_n"]) == ("corrected t", "subsets", 4)


def test_p_values_are_adjusted_for_all_numbers_of_labels(plan):
    rng = np.random.default_rng(5)
    for shots, gain in (("1", 2.0), ("2", 5.0), ("4", 0.5)):
        for method, more in (("a", 0.0), ("a + b", gain)):
            for resample in range(10):
                value = 50 + more + rng.normal(0, 1)
                plan.add(("digits", method, shots, 1, resample), value, pool_per_class=60.0)
    frame = paired(plan.evidence(), VIDEO, "a + b", "a")
    p = frame["p"].to_numpy()
    order = np.argsort(p)
    by_hand = np.empty(3)
    by_hand[order] = np.minimum(1, np.maximum.accumulate(p[order] * [3, 2, 1]))
    assert frame["p_holm"].to_numpy() == pytest.approx(by_hand)


def answers(plan, folder, *, hole: bool = False) -> dict[str, list[list[list[bool]]]]:
    """Two methods at "all": three seeds on two splits of 40 and 30 videos, five of which stand on both lists."""
    rng = np.random.default_rng(8)
    told = {}
    for method, level in (("a", 0.5), ("a + b", 0.7)):
        told[method] = []
        for split, size in ((1, 40), (2, 30)):
            names = [f"v{35 * (split - 1) + place:02d}" for place in range(size)]
            told[method].append([])
            for seed in range(3):
                right = rng.random(size) < level
                place = ("ucf101", method, "all", split, seed)
                if hole and (method, split, seed) == ("a", 2, 1):
                    plan.add(place, None)
                    continue
                plan.answer(place, dict(zip(names, right.tolist(), strict=True)), folder)
                told[method][-1].append(right.tolist())
    return told


LISTS = [[f"v{place:02d}" for place in range(40)], [f"v{place:02d}" for place in range(35, 65)]]


def test_at_all_the_difference_is_tested_over_test_videos(plan, tmp_path):
    told = answers(plan, tmp_path)
    (line,) = paired(plan.evidence(), VIDEO, "a + b", "a").to_dict("records")
    shares = [[np.mean(each, axis=0).tolist() for each in told[name]] for name in ("a", "a + b")]
    oracle = over_videos(shares[0], shares[1], LISTS)
    assert line["mean_difference"] == pytest.approx(oracle.difference)
    assert (line["ci_low"], line["ci_high"]) == (oracle.low, oracle.high)
    assert (line["p"], line["test"]) == (oracle.p, "randomisation over videos")
    assert (line["over"], line["over_n"], line["n"]) == ("test videos", 65, 3)


def test_answers_that_do_not_differ_have_a_p_and_no_interval(plan, tmp_path):
    for seed in range(2):
        for method in ("a", "a + b"):
            place = ("ucf101", method, "all", 1, seed)
            plan.answer(place, {"v0": True, "v1": False, "v2": True}, tmp_path)
    (line,) = paired(plan.evidence(), VIDEO, "a + b", "a").to_dict("records")
    assert (line["mean_difference"], line["p"], line["over"], line["over_n"]) == (0, 1, "test videos", 3)  # fmt: skip
    assert math.isnan(line["ci_low"])
    assert math.isnan(line["ci_high"])


def test_a_seed_with_a_hole_is_left_out_of_the_test_over_videos_whole(plan, tmp_path):
    told = answers(plan, tmp_path, hole=True)
    (line,) = paired(plan.evidence(), VIDEO, "a + b", "a").to_dict("records")
    whole = {"a": [told["a"][0][::2], told["a"][1]], "a + b": [each[::2] for each in told["a + b"]]}
    shares = [[np.mean(each, axis=0).tolist() for each in whole[name]] for name in ("a", "a + b")]
    assert (line["n"], line["expected"]) == (2, 3)
    assert line["ci_low"] == over_videos(shares[0], shares[1], LISTS).low


def test_without_all_predictions_the_test_at_all_is_over_seeds(plan, tmp_path):
    told = answers(plan, tmp_path)
    plan.kept.pop("ucf101/a/all/1/2")
    (line,) = paired(plan.evidence(), VIDEO, "a + b", "a").to_dict("records")
    scores = [
        np.mean([[100 * np.mean(run) for run in split] for split in told[name]], axis=0)
        for name in ("a", "a + b")
    ]
    assert line["p"] == pytest.approx(stats.ttest_rel(scores[1], scores[0]).pvalue)
    assert (line["over"], line["over_n"], line["test"]) == ("seeds", 3, "t")


def test_predictions_that_contradict_the_scores_are_refused(plan, tmp_path):
    answers(plan, tmp_path)
    row = next(each for each in plan.rows if each["method"] == "a + b")
    row["value"] += 2.5  # one of 40 videos
    with pytest.raises(ValueError, match=r"by the scores and .* by the stored predictions"):
        paired(plan.evidence(), VIDEO, "a + b", "a")


def test_only_video_accuracy_is_tested_over_videos(plan, tmp_path):
    answers(plan, tmp_path)
    for row in plan.rows:
        row["metric"] = "block_accuracy"
    (line,) = paired(plan.evidence(), "block_accuracy", "a + b", "a").to_dict("records")
    assert line["over"] == "seeds"
