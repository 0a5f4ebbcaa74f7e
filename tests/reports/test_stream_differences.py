"""What pretraining and flow add on test videos: against `over_videos` on answers written down here, and against McNemar."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from reports.published import BASELINE, PRETRAINED
from reports.statistics import over_videos
from reports.stream_differences import DIFFERENCES, stream_differences
from reports.tables import MISSING, number
from reports.two_stream import draw

STREAMS = {"rgb": ", RGB", "flow10": ", flow", "rgb+flow": ", RGB + flow"}
LISTS = {split: [f"v{20 * split + place}" for place in range(40)] for split in (1, 2, 3)}
"""Neighbouring test lists have 20 videos in common."""

Told = dict[tuple[str, str, int], list[list[bool]]]


def answers(plan, folder: Path, *, splits=(1, 2, 3), runs: int = 1, shots: str = "all") -> Told:
    """Every method on every stream: whether each run answered each video right."""
    rng = np.random.default_rng(2)
    told: Told = {}
    for rank, (stream, suffix) in enumerate(STREAMS.items()):
        for method, more in ((BASELINE, 0.0), (PRETRAINED, 0.15)):
            for split in splits:
                told[method, stream, split] = []
                for run in range(runs):
                    right = (rng.random(40) < 0.4 + 0.1 * rank + more).tolist()
                    told[method, stream, split].append(right)
                    place = ("ucf101", method + suffix, shots, split, run)
                    by_video = dict(zip(LISTS[split], right, strict=True))
                    plan.answer(place, by_video, folder, stream=stream)
    return told


def oracle(told: Told, treatment: tuple[str, str], baseline: tuple[str, str], splits=(1, 2, 3)):
    first, second = (
        [np.mean(told[*each, split], axis=0).tolist() for split in splits]
        for each in (baseline, treatment)
    )
    return over_videos(first, second, [LISTS[split] for split in splits])


def names(line: Mapping[str, str]) -> tuple[tuple[str, str], tuple[str, str]]:
    return (line["treatment"], line["treatment_stream"]), (line["baseline"], line["baseline_stream"])  # fmt: skip


@pytest.mark.parametrize("runs", [1, 2])
def test_pretraining_on_each_stream_and_both_minus_either(plan, tmp_path, runs) -> None:
    told = answers(plan, tmp_path, runs=runs)
    frame = stream_differences(plan.evidence(name="two_stream"))
    assert list(frame.columns) == list(DIFFERENCES)
    lines = frame.to_dict("records")
    assert [names(line) for line in lines] == [
        *(((PRETRAINED, stream), (BASELINE, stream)) for stream in STREAMS),
        *(
            ((method, "rgb+flow"), (method, stream))
            for method in (BASELINE, PRETRAINED)
            for stream in ("rgb", "flow10")
        ),
    ]
    for line in lines:
        found = oracle(told, *names(line))
        assert line["difference"] == pytest.approx(found.difference)
        assert (line["ci_low"], line["ci_high"], line["p"]) == (found.low, found.high, found.p)
        assert (line["videos"], line["splits"], line["expected"]) == (80, 3, 3)
    p = frame["p"].to_numpy()
    assert frame["p_holm"].tolist() == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_one_split_and_one_run_is_mcnemars_test(plan, tmp_path) -> None:
    told = answers(plan, tmp_path, splits=(2,))
    line = stream_differences(plan.evidence(name="two_stream")).to_dict("records")[-1]
    before, after = (np.array(told[PRETRAINED, stream, 2][0]) for stream in ("flow10", "rgb+flow"))
    counts = [[(before & after).sum(), (before & ~after).sum()], [(~before & after).sum(), (~before & ~after).sum()]]  # fmt: skip
    assert line["p"] == pytest.approx(mcnemar(counts, exact=True).pvalue)
    assert line["test"] == "McNemar"


def test_the_table_shows_them_with_what_they_are_over(plan, tmp_path) -> None:
    told = answers(plan, tmp_path)
    files = draw(plan.evidence(name="two_stream", title="Both"), ["md", "tex", "html", "csv"])
    text = files["two_stream.md"].decode()
    found = oracle(told, (PRETRAINED, "rgb+flow"), (PRETRAINED, "flow10"))
    name = f"| RGB + flow minus flow, 10 fields | {PRETRAINED} |"
    row = next(line for line in text.splitlines() if name in line)
    assert f"| RGB + flow minus RGB | {PRETRAINED} |" in text
    assert f"| {number(found.difference, signed=True)} | [" in row
    assert row.endswith("| 80 |")
    assert "by randomisation (random signs" in text
    assert "adjusted for the 7 tests of this table" in text
    assert "they say what other test videos would give, of models trained as these" in text
    for form in ("tex", "html"):
        assert "of models trained as these" in files[f"two_stream.{form}"].decode()
    lines = pd.read_csv(io.BytesIO(files["two_stream_difference.csv"]))
    assert lines["difference"].tolist()[-1] == pytest.approx(found.difference, abs=1e-4)


def test_a_split_without_a_run_leaves_no_difference_over_the_others(plan, tmp_path) -> None:
    answers(plan, tmp_path)
    lost = f"ucf101/{BASELINE}, flow/all/2/0"
    plan.rows = [row for row in plan.rows if row["cell"] != lost]
    plan.kept.pop(lost)
    lines = stream_differences(plan.evidence(name="two_stream")).to_dict("records")
    flow = next(line for line in lines if line["treatment_stream"] == "flow10")
    assert (flow["splits"], flow["expected"]) == (2, 3)
    assert np.isnan(flow["difference"])
    text = draw(plan.evidence(name="two_stream"), ["md"])["two_stream.md"].decode()
    rows = [line for line in text.splitlines() if line.endswith(f"| {MISSING} |") and "minus" in line]  # fmt: skip
    assert len(rows) == 2  # pretraining on flow, and both minus flow
    assert all(f"| {MISSING} † | {MISSING} |" in row for row in rows)
    assert "results or predictions of a split are missing" in text
    assert "adjusted for the 5 tests" in text


def test_a_run_whose_predictions_are_not_at_hand_is_no_run_here(plan, tmp_path) -> None:
    answers(plan, tmp_path)
    plan.kept.pop(f"ucf101/{BASELINE}, RGB/all/3/0")
    lines = stream_differences(plan.evidence(name="two_stream")).to_dict("records")
    assert [line["splits"] for line in lines] == [2, 3, 3, 2, 3, 3, 3]
    assert [bool(np.isnan(line["p"])) for line in lines] == [
        True,
        False,
        False,
        True,
        False,
        False,
        False,
    ]


def test_without_predictions_there_is_no_second_table(plan, tmp_path) -> None:
    answers(plan, tmp_path)
    plan.kept.clear()
    files = draw(plan.evidence(name="two_stream"), ["md", "html", "csv"])
    assert "minus" not in files["two_stream.md"].decode()
    assert "Difference" not in files["two_stream.html"].decode()
    assert pd.read_csv(io.BytesIO(files["two_stream_difference.csv"]))["p"].isna().all()


def test_several_numbers_of_labels_are_compared_each_by_itself(plan, tmp_path) -> None:
    told = {
        shots: answers(plan, tmp_path, splits=(1,), runs=2, shots=shots) for shots in ("1", "4")
    }
    frame = stream_differences(plan.evidence(name="two_stream"))
    assert frame["shots"].tolist() == ["1"] * 7 + ["4"] * 7
    for line in frame.to_dict("records"):
        found = oracle(told[line["shots"]], *names(line), splits=(1,))
        assert line["p"] == found.p
    text = draw(plan.evidence(name="two_stream"), ["md"])["two_stream.md"].decode()
    assert "| comparison | of | videos per class |" in text
