"""Every line of a report leads to its cells, every cell to its run, wherever the work folder lies."""

import dataclasses
import json
from html.parser import HTMLParser

import pytest

from reports.cells import MOST, cell_list, cells_of_lines, record_of_cells
from reports.evidence import Evidence
from reports.fig12 import draw
from reports.origins import facts_of, markdown_comment, told

VIDEO = "video_accuracy"
METHODS = ("LSTM classifier", "LSTM classifier + x")


def holes(place) -> bool:
    """Of resample 1 with 4 videos, the first method lacks split 2."""
    return place == ("digits", "LSTM classifier", "4", 2, 1)


@pytest.fixture
def evidence(grid) -> Evidence:
    made = grid(methods=METHODS, splits=(1, 2), resamples=3, holes=holes)
    made.provenance = {"runs": "../../runs", "commit": "abc", "notes": ["A note."]}
    return made.evidence()


class Rows(HTMLParser):
    """Rows of the list of cells: texts, links and the place of each."""

    def __init__(self, lines) -> None:
        super().__init__()
        self.rows: list[tuple[list[str], list[str]]] = []
        self.heads: list[str] = []
        self.inside = ""
        self.feed("\n".join(lines))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "tr" and "data-cell" in given:
            assert given["data-cell"] == str(len(self.rows))
            self.rows.append(([], []))
        elif tag in ("td", "th"):
            self.inside = tag
            if tag == "td":
                self.rows[-1][0].append("")
        elif tag == "a":
            self.rows[-1][1].append(given["href"])

    def handle_endtag(self, tag):
        self.inside = "" if tag in ("td", "th") else self.inside

    def handle_data(self, data):
        if self.inside == "td":
            self.rows[-1][0][-1] += data
        elif self.inside == "th":
            self.heads.append(data)


def test_an_incomplete_resample_is_behind_no_number(evidence):
    lines = cells_of_lines(evidence, VIDEO, ("dataset", "method", "shots"), whole=("resample",))
    expected = [f"digits/{METHODS[0]}/4/{split}/{n}" for split in (1, 2) for n in (0, 2)]
    assert list(lines["digits", METHODS[0], "4"]) == expected
    assert len(lines["digits", METHODS[1], "4"]) == 6
    one = cells_of_lines(evidence, VIDEO, ("dataset", "method", "shots", "split"))
    assert len(one["digits", METHODS[0], "4", "1"]) == 3
    assert len(one["digits", METHODS[0], "4", "2"]) == 2


def test_the_list_has_every_cell_with_its_coordinates_score_and_run(evidence):
    rows = Rows(cell_list(evidence).lines)
    assert rows.heads == [
        "cell", "dataset", "split", "method", "shots", "resample", "video_accuracy (%)", "run",
    ]  # fmt: skip
    assert len(rows.rows) == len(evidence.expected)
    values = {row["cell"]: row["value"] for row in evidence.rows}
    for (texts, links), cell in zip(rows.rows, evidence.expected, strict=True):
        key = cell["cell"]
        assert texts[0] == key[:16]
        assert texts[1:6] == [str(cell[name]) for name in rows.heads[1:6]]
        if key in values:
            assert texts[6:] == [f"{values[key]:g}", f"{key}#1"]
            assert links[0].startswith("../../runs/")
            assert links[1].startswith(links[0])
        else:
            assert texts[6:] == ["\N{EN DASH}", "no result"]
            assert links == []


def test_links_follow_the_key_and_the_attempt_and_cannot_leave_their_folder(evidence):
    key, run = "0123456789abcdef" * 4, "attempt-20260101T000000.5-12"
    cell = {**evidence.expected[0], "cell": key}
    row = {**evidence.rows[0], "cell": key, "run": run}
    one = dataclasses.replace(evidence, expected=(cell,), rows=(row,))
    folder = "../../runs/0123456789abcdef/"
    assert Rows(cell_list(one).lines).rows[0][1] == [folder, f"{folder}{run}/"]
    evil = dataclasses.replace(one, rows=({**row, "run": '../"><script>'},))
    assert Rows(cell_list(evil).lines).rows[0][1][1] == f"{folder}..%2F%22%3E%3Cscript%3E/"
    nowhere = dataclasses.replace(one, provenance={})
    assert Rows(cell_list(nowhere).lines).rows[0][1] == []


def test_as_few_coordinates_are_shown_as_tell_the_cells_apart(plan):
    for place in range(4):
        plan.add(("digits", "m", "1", 1, 0), None)
        plan.cells[-1] = {**plan.cells[-1], "cell": str(place), "units": 8 * place, "steps": place, "layers": 2}  # fmt: skip
    shown = Rows(cell_list(plan.evidence()).lines)
    assert shown.heads == ["cell", "dataset", "method", "units", "run"]
    assert "layers 2" in "".join(cell_list(plan.evidence()).lines)


def test_runs_that_the_cells_need_are_listed_after_them(evidence):
    needed = {"0123456789abcdef": {"run": "attempt-9", "scores": {"future_loss": 1.0}}}
    more = {**evidence.provenance, "needed_runs": needed}
    rows = Rows(cell_list(dataclasses.replace(evidence, provenance=more)).lines).rows
    texts, links = rows[-1]
    assert len(rows) == len(evidence.expected) + 1
    assert (texts[1], texts[-1]) == ("needed by others", "attempt-9")
    assert links[-1] == "../../runs/0123456789abcdef/attempt-9/"


def test_too_many_cells_for_a_page_are_in_the_file_that_is_named(grid):
    made = grid(methods=("a",), shots=tuple(map(str, range(1, MOST // 10 + 2)))).evidence()
    assert len(made.expected) > MOST
    found = cell_list(made, listed_in="fig12_runs.csv")
    (line,) = found.lines
    assert line.startswith('<p id="cells">2,010 cells, 2,010 with an accepted result')
    assert 'href="fig12_runs.csv"' in line
    assert found.places == {}
    assert 'href="fig12.json"' in cell_list(made).lines[0]


def test_the_record_leads_from_every_line_to_cells_that_it_has(evidence):
    record = json.loads(draw(evidence, ["json"])["fig12.json"])
    cells = {cell["cell"]: cell for cell in record["cells"]}
    assert len(cells) == len(evidence.expected)
    for line in record["curve"]:
        behind = [cells[key] for key in line["cells"]]
        assert {(cell["method"], cell["shots"]) for cell in behind} == {(line["method"], line["shots"])}  # fmt: skip
        assert len(behind) == 2 * line["n"]
        assert sum(cell["value"] for cell in behind) / len(behind) == pytest.approx(line["mean"])
    for line in record["differences"]:
        sums = dict.fromkeys(METHODS, 0.0)
        for key in line["cells"]:
            sums[cells[key]["method"]] += cells[key]["value"]
        if line["n"] == line["expected"]:
            number = len(line["cells"]) / 2
            assert (sums[METHODS[1]] - sums[METHODS[0]]) / number == pytest.approx(line["mean_difference"])  # fmt: skip
    accuracy, difference, split = record["tables"]
    assert [table["heading"] for table in record["tables"]] == [
        "Accuracy",
        "Difference",
        "By split",
    ]
    assert accuracy["rests_on"] == [line["cells"] for line in record["curve"]]
    assert difference["rests_on"] == [line["cells"] for line in record["differences"]]
    assert len(split["rows"]) == 12


def test_cells_for_json_have_every_score_by_its_name(evidence):
    cells = record_of_cells(evidence)
    assert [cell["cell"] for cell in cells] == [cell["cell"] for cell in evidence.expected]
    missing = [cell for cell in cells if cell["run"] is None]
    assert [cell["scores"] for cell in missing] == [{}]
    assert cells[0]["scores"] == {VIDEO: evidence.rows[0]["value"]}


def test_where_numbers_come_from_is_told_in_lines_that_no_value_can_break(evidence):
    nasty = {**evidence.provenance, "knobs": ["a=1", "b --> c\n% d"], "packages": {"torch": "2"}}
    lines = told(dataclasses.replace(evidence, provenance=nasty))
    assert lines[1:] == ["commit: abc", "knobs: a=1; b --> c % d", "packages: torch 2"]
    comment = markdown_comment(dataclasses.replace(evidence, provenance=nasty))
    inside = comment.removeprefix("<!--").removesuffix("-->\n")
    assert "--" not in inside
    assert ">" not in inside
    assert set(facts_of(evidence)) == {"commit"}
