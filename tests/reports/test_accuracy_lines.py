"""Lines of Tables 1, 3 and 4: numbers against numpy, scipy and statsmodels, and what is missing has none."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from reports.accuracy_files import frame
from reports.accuracy_layouts import TABLE1, TABLE3, TABLE4
from reports.accuracy_lines import Line, measured
from reports.evidence import Evidence
from reports.published import BASELINE, PRETRAINED, SINGLE_FRAME
from reports.statistics import mean_over_videos, over_videos
from tests.reports.answered import Answered

METHODS = (SINGLE_FRAME, BASELINE, PRETRAINED)
COMPOSITE = "Composite LSTM Model"


@pytest.fixture
def answered(tmp_path: Path) -> Answered:
    return Answered(folder=tmp_path)


def one(lines: list[Line], method: str, stream: str = "rgb", shots: str = "all") -> Line:
    """The one line at a place."""
    (found,) = [
        line for line in lines if (line.method, line.stream, line.shots) == (method, stream, shots)
    ]
    return found


def scores(answered: Answered, method: str, shots: str, metric: str = "video_accuracy") -> pd.DataFrame:  # fmt: skip
    """A method's scores, resamples by splits."""
    rows = pd.DataFrame(answered.rows)
    mine = rows[(rows["method"] == method) & (rows["shots"] == shots) & (rows["metric"] == metric)]
    return mine.pivot(index="resample", columns="split", values="value")


def right(evidence: Evidence, key: str) -> pd.Series:
    """Of each video of a cell whether its mean probability is largest at its label."""
    table = pd.read_parquet(evidence.kept[key] / "predictions.parquet")
    chosen = table.drop(columns=["block", "start", "label"]).groupby("video_id").mean()
    labels = table.groupby("video_id")["label"].first()
    return chosen.to_numpy().argmax(axis=1) == labels


def test_few_shot_lines_are_over_resamples_each_averaged_over_splits(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb",), METHODS, ("4",))
    line = one(measured(answered.evidence(), TABLE1), PRETRAINED, shots="4")
    means = scores(answered, PRETRAINED, "4").mean(axis=1)
    assert (line.over, line.n, line.expected) == ("resamples", 10, 10)
    assert line.mean == pytest.approx(means.mean())
    assert line.sd == pytest.approx(means.std(ddof=1))
    # 4 of 20 videos a class; a video on all three lists counts three times.
    widened = 1 / 10 + 3 * 4 / (20 - 4)
    half = stats.t.ppf(0.975, 9) * means.std(ddof=1) * math.sqrt(widened)
    assert (line.low, line.high) == pytest.approx((means.mean() - half, means.mean() + half))
    assert line.interval == "corrected t"
    assert line.overlap / (1 - line.overlap) == pytest.approx(3 * 4 / 16)
    blocks = scores(answered, PRETRAINED, "4", "block_accuracy").mean(axis=1)
    assert (line.block_metric, line.block) == ("block_accuracy", pytest.approx(blocks.mean()))
    assert line.by_split == pytest.approx(dict(scores(answered, PRETRAINED, "4").mean(axis=0)))


def test_few_shot_comparisons_are_paired_over_resamples(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb",), (BASELINE, PRETRAINED), ("10",), splits=(1,))
    against = one(measured(answered.evidence(), TABLE3), PRETRAINED, shots="10").against
    assert against is not None
    assert against.comparison is not None
    by_resample = (scores(answered, PRETRAINED, "10") - scores(answered, BASELINE, "10"))[1]
    spread = by_resample.std(ddof=1) * math.sqrt(1 / 10 + 10 / (20 - 10))
    assert against.comparison.difference == pytest.approx(by_resample.mean())
    p = 2 * stats.t.sf(abs(by_resample.mean()) / spread, 9)
    assert against.comparison.p == pytest.approx(p)
    assert against.comparison.test == "corrected t"
    assert against.comparison.high == pytest.approx(
        by_resample.mean() + stats.t.ppf(0.975, 9) * spread
    )


def test_without_a_known_pool_nothing_is_corrected(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb",), (BASELINE,), ("4",), splits=(1,))
    for cell in answered.cells:
        del cell["pool_per_class"]
    line = one(measured(answered.evidence(), TABLE3), BASELINE, shots="4")
    values = scores(answered, BASELINE, "4")[1]
    expected = stats.t.interval(0.95, 9, loc=values.mean(), scale=stats.sem(values))
    assert (line.low, line.high) == pytest.approx(expected)
    assert (line.interval, line.overlap) == ("t", 0)


def test_lines_with_all_labels_are_over_splits_and_their_intervals_over_videos(
    answered: Answered,
) -> None:
    answered.grid("ucf101", ("rgb",), METHODS)
    evidence = answered.evidence()
    line = one(measured(evidence, TABLE1), BASELINE)
    values = scores(answered, BASELINE, "all").loc[0]
    assert (line.over, line.n, line.interval) == ("splits", 3, "bootstrap over videos")
    assert line.mean == pytest.approx(values.mean())
    assert line.sd == pytest.approx(values.std(ddof=1))
    # A bootstrap written as a loop: videos that are on two lists are drawn with both answers.
    each = {split: right(evidence, f"ucf101/rgb/{BASELINE}/all/{split}/0") for split in (1, 2, 3)}
    ids = sorted(set().union(*(found.index for found in each.values())))
    table = pd.DataFrame({split: found.reindex(ids) for split, found in each.items()}).astype(float)
    weights = table.notna() / table.notna().sum()
    random = np.random.default_rng(5)
    drawn = []
    for _ in range(2000):
        rows = random.integers(len(ids), size=len(ids))
        total = (table.fillna(0) * weights).to_numpy()[rows].sum()
        drawn.append(100 * total / weights.to_numpy()[rows].sum())
    assert (line.low, line.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.8)


def test_comparisons_with_all_labels_are_over_videos(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb",), METHODS, splits=(1,))
    evidence = answered.evidence()
    line = one(measured(evidence, TABLE1), PRETRAINED)
    assert line.against is not None
    found = line.against.comparison
    assert found is not None
    first, second = (right(evidence, f"ucf101/rgb/{each}/all/1/0") for each in METHODS[1:])
    better, worse = int((second & ~first).sum()), int((first & ~second).sum())
    assert better != worse  # else no sign could be seen
    assert found.test == "McNemar"
    assert found.p == pytest.approx(stats.binomtest(better, better + worse).pvalue)
    assert found.difference == pytest.approx(100 * (better - worse) / 40)
    assert (line.over, line.n) == ("", 1)
    assert math.isnan(line.sd)
    assert line.interval == "Wilson over videos"
    share = proportion_confint(int(second.sum()), 40, method="wilson")
    assert (line.low / 100, line.high / 100) == pytest.approx(share)


def test_a_difference_that_is_not_that_of_the_means_is_refused(
    answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered.grid("ucf101", ("rgb",), METHODS, splits=(1,))
    monkeypatch.setattr(
        "reports.accuracy_lines.over_videos",
        lambda first, second, lists: over_videos(second, first, lists),
    )
    with pytest.raises(ValueError, match=r"points by the scores and .* by the stored predictions"):
        measured(answered.evidence(), TABLE1)


@pytest.mark.parametrize(("splits", "over"), [((1,), "seeds"), ((1, 2), "splits")])
def test_a_small_column_that_takes_the_whole_pool_is_over_videos(
    splits: tuple[int, ...], over: str, answered: Answered
) -> None:
    for method, skill in ((BASELINE, 0.5), (PRETRAINED, 0.8)):
        for split in splits:
            for seed in range(3):
                answered.add("ucf101", "rgb", method, "20", split=split, resample=seed, skill=skill)
    line = one(measured(answered.evidence(), TABLE3), PRETRAINED, shots="20")  # the pool is 20
    assert (line.over, line.interval) == (over, "bootstrap over videos")
    assert line.mean == pytest.approx(scores(answered, PRETRAINED, "20").to_numpy().mean())
    assert line.against is not None
    assert line.against.comparison is not None
    assert line.against.comparison.test == "randomisation over videos"


def test_several_seeds_of_one_split_share_their_answers(answered: Answered) -> None:
    for seed in range(3):
        for method in METHODS:
            answered.add("ucf101", "rgb", method, resample=seed)
    evidence = answered.evidence()
    line = one(measured(evidence, TABLE1), BASELINE)
    values = scores(answered, BASELINE, "all")[1]
    assert (line.over, line.n) == ("seeds", 3)
    assert line.sd == pytest.approx(values.std(ddof=1))
    assert line.answers is not None
    each = [right(evidence, f"ucf101/rgb/{BASELINE}/all/1/{seed}") for seed in range(3)]
    assert line.answers.right[0] == pytest.approx(sum(each.astype(float) for each in each) / 3)
    assert line.against is not None
    assert line.against.comparison is not None
    assert line.against.comparison.test.startswith("randomisation")


def test_top_5_is_from_the_predictions(answered: Answered) -> None:
    key = answered.add("ucf101", "rgb", BASELINE)
    line = one(measured(answered.evidence(), TABLE1), BASELINE)
    table = pd.read_parquet(answered.kept[key] / "predictions.parquet").set_index("video_id")
    found = []
    for _, mine in table.groupby("video_id"):
        p = mine.drop(columns=["block", "start", "label"]).mean().to_numpy()
        found.append(int(mine["label"].iloc[0]) in np.argsort(p)[-5:])
    assert line.first == pytest.approx(100 * np.mean(found))


def test_top_5_of_several_splits_is_the_mean_of_each_split_s(answered: Answered) -> None:
    apart = []
    for split, skill in ((1, 0.2), (2, 0.5), (3, 0.9)):
        answered.add("ucf101", "rgb", BASELINE, split=split, skill=skill)
        single = Answered(folder=answered.folder / f"only{split}")
        single.add("ucf101", "rgb", BASELINE, split=split, skill=skill)
        apart.append(one(measured(single.evidence(), TABLE1), BASELINE).first)
    assert len(set(apart)) == 3
    assert one(measured(answered.evidence(), TABLE1), BASELINE).first == pytest.approx(
        np.mean(apart)
    )


def test_five_classes_have_no_top_5(tmp_path: Path) -> None:
    answered = Answered(folder=tmp_path, classes=5)
    answered.add("ucf101", "rgb", BASELINE)
    assert math.isnan(one(measured(answered.evidence(), TABLE1), BASELINE).first)


def test_a_missing_resample_leaves_no_number(answered: Answered) -> None:
    hole = f"ucf101/rgb/{BASELINE}/4/2/7"
    answered.grid("ucf101", ("rgb",), (BASELINE, PRETRAINED), ("4",), hole=lambda key: key == hole)
    lines = measured(answered.evidence(), TABLE1)
    line, other = one(lines, BASELINE, shots="4"), one(lines, PRETRAINED, shots="4")
    assert (line.n, line.expected, line.complete) == (9, 10, False)
    for value in (line.mean, line.sd, line.low, line.block, line.by_split[2], line.minus_published):
        assert math.isnan(value)
    assert not math.isnan(line.by_split[1])  # nothing of split 1 is missing
    assert not math.isnan(other.mean)
    assert other.against is not None
    assert other.against.comparison is None
    assert math.isnan(other.against.p_holm)


def test_missing_predictions_leave_the_mean_and_no_interval(answered: Answered) -> None:
    for method in METHODS:
        for split in (1, 2):
            lost = method == BASELINE and split == 2
            answered.add("ucf101", "rgb", method, split=split, predictions=not lost)
    lines = measured(answered.evidence(), TABLE1)
    line = one(lines, BASELINE)
    assert line.complete
    assert line.unanswered
    assert not math.isnan(line.mean)
    assert math.isnan(line.low)
    assert math.isnan(line.first)
    for method in (BASELINE, PRETRAINED):
        against = one(lines, method).against
        assert against is not None
        assert against.comparison is None
    assert not math.isnan(one(lines, PRETRAINED).low)


def test_a_file_of_predictions_that_is_gone_counts_as_missing(answered: Answered) -> None:
    key = answered.add("ucf101", "rgb", BASELINE)
    (answered.kept[key] / "predictions.parquet").unlink()
    assert one(measured(answered.evidence(), TABLE1), BASELINE).unanswered


def test_predictions_that_contradict_the_score_are_refused(answered: Answered) -> None:
    key = answered.add("ucf101", "rgb", BASELINE)
    path = answered.kept[key] / "predictions.parquet"
    table = pd.read_parquet(path)
    table["label"] = (table["label"] + 1) % 10
    table.to_parquet(path)
    with pytest.raises(ValueError, match=r"stored predictions give .* where the scores say"):
        measured(answered.evidence(), TABLE1)


def test_few_shot_lines_read_no_predictions(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb",), (BASELINE, PRETRAINED), ("4",), splits=(1,))
    for cell in answered.cells:  # reading any of these would raise
        place = answered.folder / str(cell["cell"]).replace("/", "_")
        place.mkdir(parents=True)
        (place / "predictions.parquet").write_bytes(b"no parquet")
        answered.kept[str(cell["cell"])] = place
    assert all(line.complete for line in measured(answered.evidence(), TABLE1))


def test_p_values_are_adjusted_over_all_datasets_and_columns(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb", "flow1"), METHODS)
    answered.grid("hmdb51", ("rgb",), METHODS)
    lines = measured(answered.evidence(), TABLE1)
    tested = [line.against for line in lines if line.against is not None]
    assert len(tested) == 6
    p_values = [each.comparison.p for each in tested if each.comparison is not None]
    adjusted = multipletests(p_values, method="holm")[1]
    assert [each.p_holm for each in tested] == pytest.approx(list(adjusted))


def test_what_each_line_is_compared_with(answered: Answered) -> None:
    answered.grid("digits", ("pixels",), METHODS, splits=(1,))
    found = {
        line.method: line.against and line.against.method
        for line in measured(answered.evidence(), TABLE1)
    }
    assert found == {SINGLE_FRAME: None, BASELINE: SINGLE_FRAME, PRETRAINED: BASELINE}
    kinds = Answered(folder=answered.folder / "kinds")
    kinds.grid("digits", ("pixels",), tuple(TABLE3.names), splits=(1,))
    lines = measured(kinds.evidence(), TABLE3)
    assert {line.against and line.against.method for line in lines[1:]} == {BASELINE}
    assert len(lines) == 7
    streams = Answered(folder=answered.folder / "streams")
    streams.grid("digits", ("pixels", "flow1", "rgb+flow"), (COMPOSITE,), splits=(1,))
    lines = measured(streams.evidence(), TABLE4)
    assert [line.against and line.against.stream for line in lines] == [None, "pixels", "pixels"]
    assert [line.also and line.also.stream for line in lines] == [None, None, "flow1"]


def test_a_fusion_is_compared_with_both_of_its_streams(answered: Answered) -> None:
    for stream, skill in (("rgb", 0.3), ("flow1", 0.5), ("flow10", 0.9), ("rgb+flow", 0.6)):
        answered.add("ucf101", stream, COMPOSITE, skill=skill)
    lines = measured(answered.evidence(), TABLE4)
    fused = one(lines, COMPOSITE, "rgb+flow")
    assert [each.stream for each in fused.comparisons] == ["rgb", "flow10"]
    gain, loss = [each.comparison for each in fused.comparisons]
    assert gain is not None
    assert loss is not None
    assert gain.difference == pytest.approx(fused.mean - one(lines, COMPOSITE, "rgb").mean)
    assert loss.difference == pytest.approx(fused.mean - one(lines, COMPOSITE, "flow10").mean)
    assert loss.difference < 0 < gain.difference
    told = [each for line in lines for each in line.comparisons]
    p_values = [each.comparison.p for each in told if each.comparison is not None]
    assert len(p_values) == 4  # each flow minus RGB, both minus either
    adjusted = multipletests(p_values, method="holm")[1]
    assert [each.p_holm for each in told] == pytest.approx(list(adjusted))
    row = frame(lines).set_index("stream").loc["rgb+flow"]
    assert (row["baseline_stream"], row["also_baseline_stream"]) == ("rgb", "flow10")
    assert (row["also_difference"], row["also_p"]) == (loss.difference, loss.p)


def test_methods_are_in_the_paper_s_order_whatever_the_cells_are(answered: Answered) -> None:
    for method in reversed(METHODS):
        answered.add("ucf101", "rgb", method)
    assert [line.method for line in measured(answered.evidence(), TABLE1)] == list(METHODS)


def test_published_numbers_are_of_the_same_stream_and_labels(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb", "flow1", "flow10"), METHODS, splits=(1,))
    lines = measured(answered.evidence(), TABLE1)
    value = {(line.stream, line.method): line.published and line.published.value for line in lines}
    assert value["rgb", PRETRAINED] == 75.8
    assert value["flow1", BASELINE] == 74.3
    assert value["flow10", SINGLE_FRAME] == 77.5
    assert value["flow10", BASELINE] is None
    line = one(lines, PRETRAINED)
    assert line.minus_published == pytest.approx(line.mean - 75.8)
    both = Answered(folder=answered.folder / "both")
    both.grid("ucf101", ("rgb", "flow10", "rgb+flow"), (COMPOSITE,), splits=(1,))
    numbers = [line.published and line.published.value for line in measured(both.evidence(), TABLE4)]  # fmt: skip
    assert numbers == [75.8, 77.7, 84.3]


def test_resamples_on_different_splits_are_refused(answered: Answered) -> None:
    for split, resample in ((1, 0), (1, 1), (2, 0)):
        answered.add("ucf101", "rgb", BASELINE, "4", split=split, resample=resample)
    with pytest.raises(ValueError, match="same splits of every resample"):
        measured(answered.evidence(), TABLE1)


def test_methods_on_different_splits_are_not_compared(answered: Answered) -> None:
    answered.add("ucf101", "rgb", BASELINE, split=1)
    answered.add("ucf101", "rgb", PRETRAINED, split=2)
    with pytest.raises(ValueError, match="compare the same splits"):
        measured(answered.evidence(), TABLE1)


def test_methods_that_answered_other_videos_are_not_compared(answered: Answered) -> None:
    answered.add("ucf101", "rgb", BASELINE)
    answered.videos = 60
    answered.add("ucf101", "rgb", PRETRAINED)
    with pytest.raises(ValueError, match="different test videos"):
        measured(answered.evidence(), TABLE1)


def test_the_frame_has_every_number_and_its_cells(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb",), METHODS, ("10", "all"), resamples=2)
    lines = measured(answered.evidence(), TABLE1)
    table = frame(lines).set_index(["shots", "method"])
    few, every = table.loc[("10", PRETRAINED)], table.loc[("all", SINGLE_FRAME)]
    assert few["video_accuracy"] == scores(answered, PRETRAINED, "10").to_numpy().mean()
    assert every["split_2"] == scores(answered, SINGLE_FRAME, "all").loc[0, 2]
    assert math.isnan(every["block_accuracy"])
    assert every["frame_accuracy"] > 0
    assert len(few["cells"].split(" ucf101")) == 6
    assert few["baseline_method"] == BASELINE


def test_a_mean_over_videos_of_one_list_has_the_quantiles_of_a_binomial() -> None:
    answers = [1.0] * 70 + [0.0] * 30
    same = [str(each) for each in range(100)]
    found = mean_over_videos([answers, answers], [same, same])  # drawn as one
    assert found.interval == "bootstrap over videos"
    assert (found.mean, found.n) == (pytest.approx(70), 100)
    assert math.isnan(found.sd)
    expected = stats.binom.ppf([0.025, 0.975], 100, 0.7)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1.0)


def test_lists_of_different_length_weigh_the_same() -> None:
    found = mean_over_videos([[1.0], [0.0, 0.0, 1.0]], [["a"], ["b", "c", "d"]])
    assert found.mean == pytest.approx(100 * (1 + 1 / 3) / 2)


@pytest.mark.parametrize(
    ("right", "lists"),
    [([], []), ([[1.0]], []), ([[1.0, 0.0]], [["a"]]), ([[1.0, 0.0]], [["a", "a"]]), ([[]], [[]])],
)
def test_answers_that_do_not_fit_their_videos_are_refused(
    right: list[list[float]], lists: list[list[str]]
) -> None:
    with pytest.raises(
        ValueError, match=r"lists of answers|each of its videos|names a video twice"
    ):
        mean_over_videos(right, lists)
