"""Figure 12 as files: complete, the same every time, honest about what is missing."""

import dataclasses
import hashlib
import io
import json
import math
import os
import pickle
import statistics
import subprocess
import sys

import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from reports.evidence import Evidence
from reports.fig12 import FORMATS, draw, pairs
from reports.frame import curve
from reports.published import BASELINE, PRETRAINED, SINGLE_FRAME
from reports.tables import MISSING, csv_bytes
from tests.latex import assert_typesets_both_ways

METHODS = (SINGLE_FRAME, BASELINE, PRETRAINED)
VIDEO = "video_accuracy"


def one_hole(place):
    return place == ("ucf101", BASELINE, "4", 1, 3)


@pytest.fixture(scope="module")
def evidence(grid) -> Evidence:
    plan = grid(datasets=("digits", "ucf101"), methods=METHODS, holes=one_hole)
    for row in list(plan.rows):
        plan.rows.append({**row, "metric": "block_accuracy", "value": row["value"] - 5.0})
    plan.failed = {f"ucf101/{BASELINE}/4/1/3": "out of memory"}
    plan.provenance = {
        "commit": "0123abc",
        "dirty": True,
        "knobs": {"resamples": 10, "shots": ["1", "4", "all"]},
        "versions": {"torch": "2.13"},
        "notes": ["Digits are generated."],
        "chance": {"digits": 10.0},
    }
    return plan.evidence(name="my_fig12", title="Accuracy & labels")


@pytest.fixture(scope="module")
def files(evidence) -> dict[str, bytes]:
    return draw(evidence, set(FORMATS) - {"png", "pdf", "svg"})


def test_every_format_gives_its_files_named_after_the_experiment(evidence):
    drawn = draw(evidence, FORMATS)
    plain = {f"my_fig12.{form}" for form in FORMATS}
    assert set(drawn) == plain | {"my_fig12_difference.csv", "my_fig12_runs.csv"}
    assert drawn["my_fig12.png"].startswith(b"\x89PNG")
    assert drawn["my_fig12.pdf"].startswith(b"%PDF")
    assert b"<svg" in drawn["my_fig12.svg"]


def test_only_what_is_asked_for_is_drawn(evidence):
    assert set(draw(evidence, ["md"])) == {"my_fig12.md"}
    assert draw(evidence, ["gif"]) == {}  # it does not move


def test_another_process_gives_the_same_bytes_for_every_format(evidence, tmp_path):
    (tmp_path / "evidence").write_bytes(pickle.dumps(evidence))
    code = (
        "import hashlib, json, pathlib, pickle, sys\n"
        "from reports.fig12 import FORMATS, draw\n"
        "files = draw(pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()), FORMATS)\n"
        "sys.stdout.write(json.dumps({k: hashlib.sha256(v).hexdigest() for k, v in files.items()}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "evidence")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "12"},
    )
    here = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in draw(evidence, FORMATS).items()
    }
    assert json.loads(done.stdout) == here
    assert len(here) == len(FORMATS) + 2


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_a_picture_does_not_depend_on_the_other_formats_asked_for(evidence, form):
    alone = draw(evidence, [form])[f"my_fig12.{form}"]
    assert draw(evidence, ["png", "pdf", "svg"])[f"my_fig12.{form}"] == alone


def test_the_order_in_which_scores_and_facts_arrive_changes_nothing(evidence, files):
    turned = dataclasses.replace(
        evidence,
        rows=evidence.rows[::-1],
        provenance=dict(reversed(evidence.provenance.items())),
    )
    assert draw(turned, set(FORMATS) - {"png", "pdf", "svg"}) == files


def test_the_csv_holds_exactly_the_drawn_numbers_and_reads_back(evidence, files):
    points = curve(evidence, VIDEO)
    assert files["my_fig12.csv"] == csv_bytes(points)
    back = pd.read_csv(io.BytesIO(files["my_fig12.csv"]), dtype={"shots": str})
    pd.testing.assert_frame_equal(back, points, check_exact=False, atol=5e-5, rtol=0)


def test_the_runs_csv_has_every_score_of_every_run(evidence, files):
    runs = pd.read_csv(io.BytesIO(files["my_fig12_runs.csv"]))
    assert len(runs) == len(evidence.rows) == 2 * (2 * 3 * 21 - 1)
    assert set(runs["metric"]) == {VIDEO, "block_accuracy"}
    assert runs["run"].notna().all()


def test_the_difference_csv_names_both_methods_and_counts_the_pairs(files):
    frame = pd.read_csv(io.BytesIO(files["my_fig12_difference.csv"]), dtype={"shots": str})
    assert list(frame.columns[:2]) == ["treatment", "baseline"]
    assert set(frame["treatment"]) == {PRETRAINED}
    assert set(frame["baseline"]) == {BASELINE}
    hole = frame[(frame["dataset"] == "ucf101") & (frame["shots"] == "4")]
    assert hole[["n", "expected"]].to_numpy().tolist() == [[9, 10]]
    assert (frame["mean_difference"] == 3.0).all()


def test_pairs_follow_from_the_names_of_methods():
    names = [SINGLE_FRAME, f"{SINGLE_FRAME} + flow", "A", "AB", "A + x", "A + x + y"]
    assert pairs(names) == [("A + x", "A"), ("A + x + y", "A"), ("A + x + y", "A + x")]


@pytest.mark.parametrize("form", ["md", "tex", "html"])
def test_an_incomplete_point_shows_its_count_in_every_table(files, form):
    text = files[f"my_fig12.{form}"].decode()
    assert "9/10 \\textdagger{}" in text if form == "tex" else "9/10 †" in text
    assert "Incomplete" in text


@pytest.mark.parametrize("form", ["md", "tex", "html"])
def test_every_spread_is_named_and_published_values_have_their_own_column(files, form):
    text = (
        files[f"my_fig12.{form}"].decode().replace(r"\ensuremath{\pm}", "±").replace(r" \\ ", " ")
    )
    assert "mean ± sd (ddof = 1) over n resampled training subsets" in text
    assert "published" in text
    assert "Nadeau" in text
    assert "block accuracy" in text
    assert "Digits are generated." in text
    assert "commit 0123abc with uncommitted changes" in text


def test_the_table_shows_the_published_number_beside_ours(files):
    (line,) = [
        line
        for line in files["my_fig12.md"].decode().split("\n")
        if line.startswith(f"| UCF-101 | {BASELINE} | 1 |")
    ]
    assert line.split(" | ")[-1] == "29.6 |"


def test_the_json_leads_from_points_to_runs_and_names_what_is_missing(evidence, files):
    record = json.loads(files["my_fig12.json"])
    assert (record["commit"], record["knobs"]["resamples"]) == ("0123abc", 10)
    assert record["notes"] == ["Digits are generated."]
    assert len(record["cells"]) == len(evidence.expected)
    (lost,) = record["missing"]
    assert lost["cell"] == f"ucf101/{BASELINE}/4/1/3"
    assert lost["reason"] == "out of memory"
    assert [cell["cell"] for cell in record["cells"] if cell["run"] is None] == [lost["cell"]]
    assert len(record["curve"]) == 2 * 3 * 3
    assert record["provenance"]["versions"] == {"torch": "2.13"}


def test_splits_are_shown_one_by_one_when_there_are_several(grid):
    drawn = draw(grid(splits=(1, 2), resamples=2).evidence(), ["md", "html"])
    assert "Each split by itself." in drawn["fig12.md"].decode()
    assert "By split" in drawn["fig12.html"].decode()
    assert "each first averaged over splits 1, 2" in drawn["fig12.md"].decode()


def test_missing_cells_are_gathered_by_resample_and_reason(grid):
    plan = grid(holes=lambda place: place[1:3] == ("LSTM classifier", "4") and place[4] != 5)
    text = draw(plan.evidence(), ["md"])["fig12.md"].decode()
    dash = "\N{EN DASH}"
    assert f"| LSTM classifier | 4 | 1 | 0{dash}4, 6{dash}9 | no finished run yet |" in text


def test_nothing_finished_still_gives_every_file(grid):
    drawn = draw(grid(holes=lambda place: True).evidence(), FORMATS)
    assert len(drawn) == len(FORMATS) + 2
    assert "0 of 42 expected results are in." in drawn["fig12.md"].decode()
    assert "0/10 †" in drawn["fig12.md"].decode()


def test_nothing_expected_still_gives_every_file(plan):
    plan.failed = {"pretraining": "node lost"}
    drawn = draw(plan.evidence(), FORMATS)
    assert len(drawn) == len(FORMATS) + 2
    assert "node lost" in drawn["fig12.md"].decode()
    assert pd.read_csv(io.BytesIO(drawn["fig12_difference.csv"])).empty


def test_scores_under_another_name_are_not_taken_for_nothing_finished(plan):
    plan.add(("digits", "a", "1", 1, 0), 50.0, metric="accuracy")
    with pytest.raises(
        ValueError, match="no score is named 'video_accuracy'; the scores here are accuracy"
    ):
        draw(plan.evidence(), ["md"])


def test_a_method_without_blocks_lacks_no_block_accuracy(evidence):
    rows = [
        row
        for row in evidence.rows
        if (row["method"], row["metric"]) != (SINGLE_FRAME, "block_accuracy")
    ]
    drawn = draw(dataclasses.replace(evidence, rows=tuple(rows)), ("md",))[
        f"{evidence.experiment}.md"
    ].decode()
    lines = [line for line in drawn.splitlines() if f"| {SINGLE_FRAME} |" in line and "±" in line]
    assert lines
    assert all(line.split("|")[7].strip() == MISSING for line in lines)


def with_pools(grid, **more):
    """A grid whose cells say of how many videos their subsets were drawn; the gain varies from resample to resample."""
    plan = grid(
        datasets=("digits",), methods=(BASELINE, PRETRAINED, f"{PRETRAINED} + more"), **more
    )
    for cell in (*plan.cells, *plan.rows):
        cell["pool_per_class"] = 60.0
    for place, row in enumerate(plan.rows):
        row["value"] += (place * 5 % 7) * 0.3
    return plan


def table_rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the Markdown tables whose heading begins so."""
    rows, inside = [], False
    for line in text.splitlines():
        inside = line.startswith(heading) or (inside and line.startswith("|"))
        if inside and not line.startswith((heading, "| :")):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_differences_show_interval_p_and_what_they_are_over(grid):
    plan = with_pools(grid, resamples=6)
    drawn = draw(plan.evidence(), ["md", "csv"])
    lines = pd.read_csv(io.BytesIO(drawn["fig12_difference.csv"]), dtype={"shots": str})
    rows = table_rows(drawn["fig12.md"].decode(), "| dataset | videos per class | n | difference")
    assert len(rows) == len(lines) == 9
    value = {tuple(row["cell"].split("/")): row["value"] for row in plan.rows}
    for row, line in zip(rows, lines.to_dict("records"), strict=True):
        both = [
            [value["digits", line[which], line["shots"], "1", str(r)] for r in range(line["n"])]
            for which in ("treatment", "baseline")
        ]
        gain = [new - old for new, old in zip(*both, strict=True)]
        assert (
            row[3].split(" ± ")[0].replace("\N{MINUS SIGN}", "-") == f"{sum(gain) / len(gain):+.1f}"
        )
        if line["shots"] == "all":  # one seed
            assert row[4:8] == [MISSING] * 4
            continue
        k = int(line["shots"])
        s2 = statistics.variance(gain)
        scale = math.sqrt(s2 * (1 / 6 + k / (60 - k)))
        assert line["p"] == pytest.approx(2 * stats.t.sf(abs(sum(gain) / 6 / scale), 5), rel=0.006)
        half = stats.t.ppf(0.975, 5) * scale
        shown = row[4].strip("[]").replace("\N{MINUS SIGN}", "-").split(", ")
        assert [float(each) for each in shown] == pytest.approx(
            [sum(gain) / 6 - half, sum(gain) / 6 + half], abs=0.051
        )
        assert row[7] == "subsets"
    tested = lines["p"].dropna()
    adjusted = multipletests(tested, method="holm")[1]
    assert lines["p_holm"].dropna().tolist() == pytest.approx(adjusted.tolist(), rel=0.01)
    assert "adjusted for all 6 tests of this report" in drawn["fig12.md"].decode()
    assert "a correlation of 0.02 to 0.07." in drawn["fig12.md"].decode()


def test_accuracies_show_the_interval_of_their_mean(grid):
    drawn = draw(with_pools(grid, resamples=6).evidence(), ["md", "csv"])
    points = pd.read_csv(io.BytesIO(drawn["fig12.csv"]), dtype={"shots": str})
    rows = table_rows(drawn["fig12.md"].decode(), "| dataset | method")
    for row, point in zip(rows, points.to_dict("records"), strict=True):
        if point["n"] == 1:
            assert row[5] == MISSING
            continue
        k = int(point["shots"])
        half = stats.t.ppf(0.975, 5) * point["sd"] * math.sqrt(1 / 6 + k / (60 - k))
        shown = [float(each) for each in row[5].strip("[]").split(", ")]
        assert shown == pytest.approx([point["mean"] - half, point["mean"] + half], abs=0.051)
        assert [point["ci_low"], point["ci_high"]] == pytest.approx(
            [point["mean"] - half, point["mean"] + half], abs=1e-3
        )


def test_a_note_for_every_kind_of_interval_and_for_no_other(grid, plan, tmp_path):
    text = draw(grid(methods=(BASELINE, PRETRAINED)).evidence(), ["md"])["fig12.md"].decode()
    assert "Over subsets, not corrected" in text
    assert "Over seeds" not in text
    assert "Over test videos" not in text
    for method, step in ((BASELINE, 3), (PRETRAINED, 2)):
        for seed in range(2):
            right = {f"v{at}": (at + seed) % step > 0 for at in range(20)}
            plan.answer(("digits", method, "all", 1, seed), right, tmp_path)
    text = draw(plan.evidence(), ["md"])["fig12.md"].decode()
    assert "Over subsets" not in text
    assert text.count("Over seeds: the 95 % interval of the mean") == 1
    assert "Over test videos: the 95 % interval is a paired bootstrap" in text
    assert "| 20 test videos |" in text


def test_a_small_p_is_not_written_as_zero(grid):
    plan = grid(methods=(BASELINE, PRETRAINED), shots=("1",), resamples=10)
    for row in plan.rows:
        row["value"] += 20.0 * (row["method"] == PRETRAINED) + row["resample"] % 2 * 0.1 * (row["method"] == BASELINE)  # fmt: skip
    drawn = draw(plan.evidence(), ["csv", "md"])
    (line,) = pd.read_csv(io.BytesIO(drawn["fig12_difference.csv"])).to_dict("records")
    assert 0 < line["p"] < 1e-10
    assert "| <0.001 |" in drawn["fig12.md"].decode().replace("&lt;", "<")


def test_the_latex_typesets_both_ways(evidence, files, tmp_path):
    assert_typesets_both_ways(tmp_path, "my_fig12", files["my_fig12.tex"])
    told = [line for line in files["my_fig12.tex"].decode().split("\n") if line.startswith("%")]
    assert "% commit: 0123abc" in told
    assert "% knobs: resamples 10, shots 1; 4; all" in told
