"""Tables 1, 3 and 4 in all forms: ours and published in columns of their own, holes marked, classes one by one."""

import io
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.accuracy_grid import grid
from reports.accuracy_lines import measured
from reports.accuracy_tables import TABLE1, TABLE3, TABLE4, Layout, draw
from reports.evidence import Evidence
from reports.published import BASELINE, PRETRAINED, PUBLISHED, SINGLE_FRAME
from reports.tables import MINUS, MISSING
from tests.latex import assert_typesets_both_ways
from tests.reports.answered import COMPOSITE, METHODS, Answered, table1, table3, table4

FORMS = ("png", "pdf", "svg", "md", "tex", "html", "csv", "json")


@pytest.fixture
def answered(tmp_path: Path) -> Answered:
    return Answered(folder=tmp_path)


def text_of(evidence: Evidence, layout: Layout, form: str = "md") -> str:
    return draw(evidence, [form], layout)[f"{evidence.experiment}.{form}"].decode()


def markdown_tables(text: str) -> list[pd.DataFrame]:
    """Every table of a Markdown text, as texts."""
    found: list[list[list[str]]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("| "):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if not before.startswith("| "):
                found.append([])
            found[-1].append(cells)
        before = line
    return [pd.DataFrame(rows[2:], columns=rows[0]) for rows in found]


def columns_of(tables: list[pd.DataFrame]) -> Iterator[tuple[str, list[str]]]:
    """Every column of every table, with its heading."""
    for table in tables:
        for place, heading in enumerate(table.columns):
            yield heading, table.iloc[:, place].tolist()


@pytest.mark.parametrize(
    ("make", "layout"), [(table1, TABLE1), (table3, TABLE3), (table4, TABLE4)], ids=["1", "3", "4"]
)
def test_published_and_measured_numbers_share_no_column(make, layout, answered: Answered) -> None:
    """Every number under a heading "published" is the paper's, and none under another heading is."""
    evidence = make(answered)
    papers = {f"{one.value:.1f}" for one in PUBLISHED if one.artefact == layout.artefact}
    ours = {f"{line.mean:.1f}" for line in measured(evidence, layout)}
    seen = 0
    for heading, cells in columns_of(markdown_tables(text_of(evidence, layout))):
        numbers = {cell.split(" ")[0] for cell in cells} - {MISSING}
        if "published" in heading and "minus" not in heading:
            assert numbers <= papers, heading
            seen += len(numbers)
        elif heading.endswith("ours") or heading == "mean ± sd":
            assert numbers <= ours, heading
            seen += len(numbers)
    assert seen > 10


def test_table_1_is_laid_out_as_the_paper_prints_it(answered: Answered) -> None:
    evidence = table1(answered)
    first, second = markdown_tables(text_of(evidence, TABLE1))[:2]
    assert list(first.columns) == [
        "method",
        *("RGB: ours", "RGB: published", "RGB: difference"),
        *("flow, 1 field: ours", "flow, 1 field: published", "flow, 1 field: difference"),
        *("flow, 10 fields: ours", "flow, 10 fields: published", "flow, 10 fields: difference"),
    ]
    assert first["method"].tolist() == [SINGLE_FRAME, BASELINE, "+ Composite pretraining"]
    assert first["RGB: published"].tolist() == ["72.2", "74.5", "75.8"]
    assert first["flow, 10 fields: published"].tolist() == ["77.5", MISSING, "77.7"]
    assert second["RGB: published"].tolist() == ["40.1", "42.8", "44.1"]
    values = [row["value"] for row in answered.rows if row["metric"] == "video_accuracy"][:3]
    mean, sd = np.mean(values), np.std(values, ddof=1)
    assert first["RGB: ours"][0] == f"{mean:.1f} ± {sd:.1f}"
    assert first["RGB: difference"][0] == f"{mean - 72.2:+.1f}".replace("-", MINUS)
    text = text_of(evidence, TABLE1)
    assert "ours is mean ± sd (ddof = 1): over splits 1, 2, 3." in text
    assert "Table 1, section 3.3 (not in Table 1 itself)" in text
    assert "44.0 in section 3.3 and Table 4" in text


def test_table_3_has_few_labels_and_all_beside_each_other(answered: Answered) -> None:
    text = text_of(table3(answered), TABLE3)
    first, second = markdown_tables(text)[:2]
    assert first["pretraining of the LSTM classifier"].tolist() == [
        *("none", "Autoencoder", "Future Predictor", "Conditional Autoencoder"),
        *("Conditional Future Predictor", "Composite"),
        "Composite with Conditional Future Predictor",
    ]
    assert first["10 videos per class: published"].tolist()[0] == "63.7"
    assert first["all (20) videos per class: published"].tolist()[-1] == "75.8"
    assert second["4 videos per class: published"].tolist()[0] == "25.3"
    assert (
        "over 3 resampled training subsets, each first averaged over splits 1, 2, 3 (10 videos per class); "
        "over splits 1, 2, 3 (all)."
    ) in text
    assert "over 3 resampled training subsets (4 videos per class); one run, no spread (all)." in text  # fmt: skip


def test_table_4_has_three_sets_with_the_published_systems(answered: Answered) -> None:
    table = markdown_tables(text_of(table4(answered), TABLE4))[0]
    assert table["data"].tolist() == ["RGB"] * 5 + ["flow"] * 3 + ["RGB + flow"] * 4
    own = table["method"] == COMPOSITE
    assert own.sum() == 3
    assert set(table.loc[~own, "UCF-101: ours"]) == {MISSING}
    assert all("±" in each for each in table.loc[own, "UCF-101: ours"])
    assert table.loc[own, "published: UCF-101"].tolist() == ["75.8", "77.7", "84.3"]
    assert table.loc[own, "published: HMDB-51"].tolist() == ["44.0", MISSING, MISSING]
    assert table.loc[1, "published: UCF-101"] == "72.3"  # C3D
    assert set(table.loc[~own, "UCF-101: ours minus published"]) == {MISSING}


def test_table_4_on_other_data_has_the_published_systems_and_no_difference(
    answered: Answered,
) -> None:
    evidence = table4(answered, "digits", ("pixels", "flow1"))
    text = text_of(evidence, TABLE4)
    table = markdown_tables(text)[0]
    assert list(table.columns) == [
        *("data", "method", "digits: ours", "published: UCF-101", "published: HMDB-51")
    ]
    assert len(table) == 12
    assert "no numbers on digits" in text
    assert "Ours on flow of digits is of single fields." in text
    assert "77.7 %" not in text
    assert "pixels themselves" in text
    page = text_of(evidence, TABLE4, "html")
    assert "hollow marks" not in page  # the figure has none
    assert "with 95 % intervals; the tables" in page


def test_single_fields_are_said_of_the_datasets_that_have_them(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb", "flow10"), (COMPOSITE,))
    answered.grid("hmdb51", ("rgb", "flow1"), (COMPOSITE,))
    text = text_of(answered.evidence(), TABLE4)
    assert "Ours on flow of HMDB-51 is of single fields." in text
    assert "77.7 %" not in text
    both = Answered(folder=answered.folder / "both")
    both.grid("ucf101", ("rgb", "flow1"), (COMPOSITE,))
    text = text_of(both.evidence(), TABLE4)
    assert "Ours on flow of UCF-101 is of single fields; the paper's 77.7 %" in text
    assert "hollow marks" in text_of(both.evidence(), TABLE4, "html")
    both.grid("ucf101", ("flow10",), (COMPOSITE,))  # each has a row that says which it is
    assert "is of single fields" not in text_of(both.evidence(), TABLE4)


def test_the_fusion_minus_either_stream_has_a_row(answered: Answered) -> None:
    differences = markdown_tables(text_of(table4(answered), TABLE4))[-1]
    fused = f"{COMPOSITE}, RGB + flow"
    rows = differences[differences[differences.columns[1]] == fused]
    assert rows["minus"].tolist() == ["RGB", "flow, 10 fields"]


@pytest.mark.parametrize(
    ("splits", "said"),
    [((1,), "Ours is on split 1; "), ((1, 3), "Ours is on splits 1 and 3; "), ((1, 2, 3), None)],
)
def test_fewer_splits_than_the_paper_s_are_said(
    splits: tuple[int, ...], said: str | None, answered: Answered
) -> None:
    answered.grid("ucf101", ("rgb",), METHODS, splits=splits)
    text = text_of(answered.evidence(), TABLE1)
    assert ("Ours is on split" in text) == (said is not None)
    if said is not None:
        assert (
            f"{said}the paper has three splits and does not say over which its numbers are." in text
        )


def test_some_numbers_on_fewer_splits_than_the_paper_s_are_said_as_some(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb",), METHODS)
    answered.grid("ucf101", ("flow1",), METHODS, splits=(1, 2))
    text = text_of(answered.evidence(), TABLE1)
    assert (
        "Some of ours is on splits 1 and 2; the paper has three splits and does not say over which its numbers are."
        in text
    )


def test_what_gave_intervals_and_p_is_said(answered: Answered) -> None:
    """Several lists are randomised even where every video has one answer of each."""
    answered.grid("ucf101", ("rgb",), METHODS, splits=(1,))
    answered.videos = 4
    answered.grid("hmdb51", ("rgb",), METHODS, splits=(1, 3))  # these lists share no video
    text = text_of(answered.evidence(), TABLE1)
    assert "95 % intervals: over test videos Wilson intervals (one test list, one run)." in text
    assert "95 % intervals: percentile bootstrap intervals over test videos." in text
    assert "exact McNemar test on one test list with one run of each, else a randomisation" in text
    rows = markdown_tables(text)[-1]
    hmdb = rows["column"].str.startswith("HMDB-51")
    assert set(rows.loc[hmdb, "test"]) == {"randomisation over videos"}
    assert set(rows.loc[~hmdb, "test"]) == {"McNemar"}


def test_two_flows_in_one_set_have_rows_of_their_own(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb", "flow1", "flow10"), (COMPOSITE,))
    table = markdown_tables(text_of(answered.evidence(), TABLE4))[0]
    flow = table[table["data"] == "flow"].set_index("method")
    assert "±" in flow.loc[f"{COMPOSITE} (flow, 1 field)", "UCF-101: ours"]
    assert flow.loc[f"{COMPOSITE} (flow, 1 field)", "published: UCF-101"] == MISSING
    assert flow.loc[f"{COMPOSITE} (flow, 10 fields)", "published: UCF-101"] == "77.7"
    assert flow.loc[f"{COMPOSITE} (flow, 1 field)", "UCF-101: ours minus published"] == MISSING
    assert flow.loc[f"{COMPOSITE} (flow, 10 fields)", "UCF-101: ours minus published"] != MISSING


def test_on_other_data_the_paper_s_table_stands_apart(answered: Answered) -> None:
    answered.grid("digits", ("pixels", "flow1"), METHODS, splits=(1,))
    text = text_of(answered.evidence(), TABLE1)
    own, papers = markdown_tables(text)[:2]
    assert list(own.columns) == ["method", "pixels: ours", "flow, 1 field: ours"]
    assert papers["published: UCF-101, RGB"].tolist() == ["72.2", "74.5", "75.8"]
    assert "none of these numbers is ours" in text
    assert "of one run on one split: it has no spread" in text


def test_what_is_missing_is_marked_everywhere(answered: Answered) -> None:
    holes = {f"ucf101/rgb/{BASELINE}/10/2/1", f"ucf101/rgb/{PRETRAINED}/all/3/0"}
    answered.failed = {f"ucf101/rgb/{BASELINE}/10/2/1": "out of memory"}
    evidence = table3(answered, hole=lambda key: key in holes)
    text = text_of(evidence, TABLE3)
    tables = markdown_tables(text)
    assert tables[0]["10 videos per class: ours"][0] == f"{MISSING} 2/3 †"
    assert tables[0]["10 videos per class: difference"][0] == f"{MISSING} †"
    assert tables[0]["all (20) videos per class: ours"][5] == f"{MISSING} 2/3 †"
    detail = tables[2]
    row = detail[detail["n"] == "2/3 † resamples"].iloc[0]
    assert (row["split 2"], row["mean ± sd"]) == (f"{MISSING} †", f"{MISSING} †")
    assert row["split 1"] != f"{MISSING} †"
    differences = tables[4]
    few = differences[differences["column"].str.startswith("UCF-101") & differences["column"].str.contains("10 per class")]  # fmt: skip
    assert set(few["difference"]) == {f"{MISSING} †"}  # all are compared with the incomplete one
    lost = tables[5]
    assert lost["reason"].tolist() == ["out of memory", "no finished run yet"]
    assert lost["resamples"].tolist() == ["1", "0"]
    assert "† Incomplete" in text


def test_missing_predictions_are_said(answered: Answered) -> None:
    for method in METHODS:
        answered.add("ucf101", "rgb", method, predictions=method != BASELINE)
    text = text_of(answered.evidence(), TABLE1)
    detail = markdown_tables(text)[1].set_index("method")
    assert detail.loc[BASELINE, "95 % interval"] == f"{MISSING} †"
    assert detail.loc[BASELINE, "top-5"] == f"{MISSING} †"
    assert detail.loc[BASELINE, "mean ± sd"][0].isdigit()
    assert "Of 1 row not all runs' stored predictions are at hand" in text


def test_a_dataset_is_said_once(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb",), METHODS, splits=(1,))
    for title, said in (("Accuracies, ucf101", "Accuracies, UCF-101. "), ("A", "A: UCF-101. ")):
        assert f"\n{said}" in text_of(answered.evidence(title=title), TABLE1)


def test_the_lead_says_where_classes_are(answered: Answered) -> None:
    key = answered.add("ucf101", "rgb", BASELINE)
    evidence = answered.evidence()
    files = "table1_classes.csv, table1_confusion.csv"
    assert f"1 of 1 expected results are in. Class by class: {files}.\n" in text_of(evidence, TABLE1)  # fmt: skip
    del answered.kept[key]
    assert "Class by class" not in text_of(answered.evidence(), TABLE1)


def test_fused_predictions_have_no_blocks(answered: Answered) -> None:
    detail = markdown_tables(text_of(table4(answered), TABLE4))[1]
    assert detail["block"].tolist()[-1] == MISSING
    assert detail["block"].tolist()[0] != MISSING


def test_blocks_of_a_single_frame_are_called_frames(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb",), METHODS)
    detail = markdown_tables(text_of(answered.evidence(), TABLE1))[1]
    assert detail["block"].str.endswith("(frames)").tolist() == [True, False, False]


def test_all_forms_are_made_and_the_same_every_time(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb",), METHODS)
    evidence = answered.evidence()
    files = draw(evidence, FORMS, TABLE1)
    assert set(files) == {
        *(f"table1.{form}" for form in FORMS),
        *(f"table1_{part}.csv" for part in ("runs", "published", "classes", "confusion")),
        *(f"table1_classes.{form}" for form in ("png", "pdf", "svg")),
    }
    assert all(files.values())
    again = draw(evidence, ("svg", "html", "csv"), TABLE1)
    assert again == {name: files[name] for name in again}
    for form in ("md", "tex", "html"):
        assert "A note." in files[f"table1.{form}"].decode()
    lines = json.loads(files["table1.json"])["lines"]
    assert [line["method"] for line in lines] == list(METHODS)


def test_csv_has_every_number_unrounded(answered: Answered) -> None:
    evidence = table3(answered)
    files = draw(evidence, ["csv"], TABLE3)
    table = pd.read_csv(io.BytesIO(files["table3.csv"]))
    lines = measured(evidence, TABLE3)
    assert table["video_accuracy"].tolist() == [line.mean for line in lines]
    p_values = [line.against.comparison.p for line in lines if line.against and line.against.comparison]  # fmt: skip
    assert table["p"].dropna().tolist() == p_values
    assert table["cells"][0].count("ucf101/rgb/LSTM classifier/10/") == 9
    runs = pd.read_csv(io.BytesIO(files["table3_runs.csv"]))
    assert len(runs) == len(answered.rows)
    assert set(runs["stream"]) == {"rgb"}
    published = pd.read_csv(io.BytesIO(files["table3_published.csv"]))
    assert len(published) == 28
    assert "value" in published
    assert not {"mean", "video_accuracy"} & set(published)


def test_every_row_says_which_cells_it_rests_on(answered: Answered) -> None:
    """The page lists the table's rows with their cells: a published system rests on none."""
    from reports.accuracy_tables import _in_sets

    evidence = table4(answered)
    table = _in_sets(evidence, grid(measured(evidence, TABLE4), TABLE4), TABLE4)
    rests = dict(zip([row[:2] for row in table.rows], table.rests_on, strict=True))
    assert rests["RGB", "C3D"] == ()
    assert rests["flow", COMPOSITE] == tuple(f"ucf101/flow10/{COMPOSITE}/all/{split}/0" for split in (1, 2, 3))  # fmt: skip


@pytest.mark.parametrize("layout", [TABLE1, TABLE3, TABLE4], ids=["1", "3", "4"])
def test_nothing_finished_is_drawn_as_that(layout: Layout, answered: Answered) -> None:
    for method in (BASELINE, PRETRAINED, COMPOSITE):
        answered.add("digits", "pixels", method, skill=None)
    files = draw(answered.evidence("none"), FORMS, layout)
    assert "0 of 3 expected results are in" in files["none.md"].decode()
    assert "none_classes.png" not in files


class Balanced(HTMLParser):
    """Every element that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "br", "img", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def test_the_page_has_a_section_for_every_table(answered: Answered) -> None:
    page = Balanced()
    page.feed(text_of(table1(answered), TABLE1, "html"))
    page.close()
    assert not page.open
    assert page.headings[:5] == [
        *("Table 1: UCF-101", "Table 1: HMDB-51"),
        *("In detail: UCF-101", "In detail: HMDB-51", "Differences"),
    ]


@pytest.mark.parametrize(
    ("make", "layout"), [(table1, TABLE1), (table3, TABLE3), (table4, TABLE4)], ids=["1", "3", "4"]
)
def test_the_latex_compiles(make, layout, answered: Answered, tmp_path: Path) -> None:
    hole = f"ucf101/rgb/{BASELINE}/all/2/0"
    evidence = make(answered) if make is table4 else make(answered, hole=lambda key: key == hole)
    tables = text_of(evidence, layout, "tex")
    assert_typesets_both_ways(tmp_path, "tables", tables.encode())
