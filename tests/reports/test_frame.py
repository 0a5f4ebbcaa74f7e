"""Means, spreads and counts against numbers worked out by hand, and intervals against scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from reports.frame import BY_SPLIT, CURVE, PAIRED, by_split, curve, paired
from reports.published import BASELINE, PRETRAINED, SINGLE_FRAME

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
