"""RGB, flow and both: means over splits by hand, holes that stay holes, the paper's numbers of the same stream."""

import io
import json
import math
from dataclasses import replace

import pandas as pd
import pytest

from reports.evidence import Evidence
from reports.frame import by_split
from reports.published import BASELINE, PRETRAINED
from reports.stream_lines import METRIC, over_splits
from reports.style import paper_style
from reports.tables import MISSING
from reports.two_stream import _figure, draw
from tests.latex import assert_typesets_both_ways

STREAMS = {"rgb": ", RGB", "flow10": ", flow", "rgb+flow": ", RGB + flow"}
FORMS = ("png", "pdf", "svg", "md", "tex", "csv", "html", "json")


def value(method: str, stream: str, split: int, resample: int) -> float:
    return 50 + 3 * list(STREAMS).index(stream) + 2 * (method == PRETRAINED) + split**2 + resample


@pytest.fixture
def evidence(plan) -> Evidence:
    """Three splits of two resamples; one resample of the fused baseline's split 2 is missing."""
    for stream, suffix in STREAMS.items():
        for method in (BASELINE, PRETRAINED):
            for split in (1, 2, 3):
                for resample in (0, 1):
                    hole = (method, stream, split, resample) == (BASELINE, "rgb+flow", 2, 1)
                    number = None if hole else value(method, stream, split, resample)
                    plan.add(("ucf101", method + suffix, "all", split, resample), number)
    for cell in (*plan.cells, *plan.rows):
        suffix = str(cell["method"]).rpartition(",")[2]
        cell["stream"] = next(s for s, each in STREAMS.items() if each.removeprefix(",") == suffix)
    plan.provenance = {"chance": {"ucf101": 0.99}, "notes": ["A note."]}
    return plan.evidence(name="two_stream", title="RGB, flow and both")


def test_a_mean_is_over_splits_of_means_over_resamples(evidence):
    lines = over_splits(evidence).set_index(["stream", "method"])
    line = lines.loc[("flow10", PRETRAINED)]
    each = [50 + 3 + 2 + split**2 + 0.5 for split in (1, 2, 3)]
    assert line["mean"] == pytest.approx(sum(each) / 3)
    sd = math.sqrt(sum((x - sum(each) / 3) ** 2 for x in each) / 2)
    assert line["sd"] == pytest.approx(sd)
    assert (line["splits"], line["expected"]) == (3, 3)
    assert list(over_splits(evidence)["stream"]) == [s for s in STREAMS for _ in range(2)]


def test_a_split_that_lacks_a_resample_leaves_no_mean(evidence):
    line = over_splits(evidence).set_index(["stream", "method"]).loc[("rgb+flow", BASELINE)]
    assert math.isnan(line["mean"])
    assert (line["splits"], line["expected"]) == (2, 3)
    text = draw(evidence, ["md"])["two_stream.md"].decode()
    row = next(each for each in text.splitlines() if "RGB + flow | LSTM classifier |" in each)
    assert "2/3 †" in row
    assert f"{MISSING} †" in row
    assert "35 of 36 expected results are in" in text


def test_published_numbers_are_of_the_same_stream(evidence):
    lines = over_splits(evidence).set_index(["stream", "method"])
    assert lines.loc[("rgb", BASELINE), "published"] == 74.5  # Table 1
    assert lines.loc[("rgb", PRETRAINED), "published"] == 75.8
    assert lines.loc[("flow10", PRETRAINED), "published"] == 77.7  # section 3.3
    assert math.isnan(lines.loc[("flow10", BASELINE), "published"])
    assert lines.loc[("rgb+flow", PRETRAINED), "published"] == 84.3  # Table 4
    assert math.isnan(lines.loc[("rgb+flow", BASELINE), "published"])


def test_all_forms_agree_and_are_the_same_every_time(evidence):
    files = draw(evidence, FORMS)
    assert files == draw(evidence, FORMS)
    assert set(files) == {f"two_stream.{form}" for form in FORMS} | {
        "two_stream_difference.csv",
        "two_stream_splits.csv",
        "two_stream_runs.csv",
    }
    lines = pd.read_csv(io.BytesIO(files["two_stream.csv"]))
    for form in ("md", "tex", "html"):
        text = files[f"two_stream.{form}"].decode()
        for mean in lines["mean"].dropna():
            assert f"{mean:.1f}" in text
        assert "A note." in text
    assert len(json.loads(files["two_stream.json"])["cells"]) == 36


def test_ten_splits_are_no_columns(plan):
    for split in range(1, 11):
        plan.add(("ut", f"{BASELINE}, RGB", "all", split, 0), 40.0 + split)
    text = draw(plan.evidence(name="ten", title="Ten"), ["md"])["ten.md"].decode()
    assert "split 1" not in text
    assert "45.5 ± 3.0" in text


def test_nothing_finished_is_drawn_as_that(plan):
    plan.add(("ut", f"{BASELINE}, RGB", "all", 1, 0), None)
    files = draw(plan.evidence(name="none", title="None"), ["md", "svg"])
    assert "0 of 1 expected results are in" in files["none.md"].decode()


def test_a_row_of_several_streams_is_refused(evidence):
    def mixed(cell):
        other = cell["method"].endswith(", flow") and cell["split"] == 3
        return {**cell, "stream": "flow1"} if other else cell

    cells, scores = (tuple(map(mixed, each)) for each in (evidence.expected, evidence.rows))
    with pytest.raises(
        ValueError, match=r"flow10 on splits 1, 2; flow1 on splits 3.*of one stream"
    ):
        over_splits(replace(evidence, expected=cells, rows=scores))


def rows_of(plan, place, count) -> str:
    for resample in range(count):
        plan.add((*place, resample), 40.0 + resample)
    return draw(plan.evidence(name="two"), ["md"])["two.md"].decode()


def test_the_table_says_over_how_many_runs_a_split_is(evidence):
    files = draw(evidence, ["md", "csv"])
    assert set(pd.read_csv(io.BytesIO(files["two_stream.csv"]))["runs_per_split"]) == {2}
    text = files["two_stream.md"].decode()
    assert "| RGB | LSTM classifier | 2 seeds |" in text
    assert "its number is the mean over them" in text
    assert "Trained on all training videos." in text


def test_the_only_number_of_labels_is_a_column_unless_it_is_all(plan):
    text = rows_of(plan, ("ut", f"{BASELINE}, RGB", "4", 1), 3)
    assert "| videos per class | runs per split |" in text
    assert "| LSTM classifier | 4 | 3 subsets | 41.0 |" in text
    assert "all training videos." not in text


def test_one_run_a_split_is_no_mean(plan):
    text = rows_of(plan, ("ut", f"{BASELINE}, RGB", "4", 1), 1)
    assert "| LSTM classifier | 4 | 1 | 40.0 |" in text
    assert "mean over them" not in text


def test_the_page_says_each_note_once(evidence):
    text = draw(evidence, ["html"])["two_stream.html"].decode()
    assert text.count("A note.") == 1


def legend(evidence) -> list[str]:
    with paper_style():
        figure = _figure(evidence, over_splits(evidence), by_split(evidence, METRIC))
    (shown,) = figure.legends
    return [each.get_text() for each in shown.get_texts()]


def test_one_split_has_no_mean_in_the_legend(evidence):
    assert f"{BASELINE}, mean over splits" in legend(evidence)
    assert "one split" in legend(evidence)
    first = [tuple(c for c in each if c["split"] == 1) for each in (evidence.expected, evidence.rows)]  # fmt: skip
    single = replace(evidence, expected=first[0], rows=first[1])
    assert legend(single) == [BASELINE, PRETRAINED, "published", "chance"]


def test_what_the_paper_fused_is_said_to_be_open(evidence):
    assert "does not say which of its flow streams" in draw(evidence, ["md"])["two_stream.md"].decode()  # fmt: skip
    rgb = [tuple(c for c in each if c["stream"] == "rgb") for each in (evidence.expected, evidence.rows)]  # fmt: skip
    alone = replace(evidence, expected=rgb[0], rows=rgb[1])
    assert "does not say which" not in draw(alone, ["md"])["two_stream.md"].decode()


def test_the_latex_typesets_both_ways(evidence, tmp_path):
    content = draw(evidence, ["tex"])["two_stream.tex"]
    assert_typesets_both_ways(tmp_path, "two_stream", content)
