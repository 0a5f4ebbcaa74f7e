"""The main table on a terminal: readable at 80 letters, complete when it does not fit."""

import io
import json

from harness.printed import lines_of, main_tables, show


def column(header, unit="", align="right", over=""):
    return {"header": header, "unit": unit, "align": align, "over": over}


def table(columns, rows, group_by=0, **more):
    return {"heading": "Accuracy", "columns": columns, "rows": rows, "group_by": group_by, "caption": "Mean ± sd.", "notes": [], **more}  # fmt: skip


GROUPED = table(
    [column("dataset", align="left"), column("method", align="left"), column("videos per class"), column("accuracy", "%")],
    [["digits", "LSTM", "1", "9.5 ± 0.1"], ["digits", "LSTM", "all (60)", "\N{MINUS SIGN}1.0"], ["digits", "b", "1", "7"]],
    group_by=2,
)  # fmt: skip


def test_groups_stand_above_their_rows_and_numbers_are_aligned_to_the_right():
    assert [line for line, _ in lines_of(GROUPED, 80)] == [
        "  videos",
        "     per   accuracy",
        "   class        (%)",
        "─" * 19,
        "digits, LSTM",
        "       1  9.5 ± 0.1",
        "all (60)       \N{MINUS SIGN}1.0",
        "digits, b",
        "       1          7",
    ]


def test_a_heading_over_several_columns_stands_in_each_of_them():
    columns = [
        column("method", align="left"),
        column("ours", over="pixels"),
        column("ours", "%", over="flow"),
    ]
    lines = [line for line, _ in lines_of(table(columns, [["LSTM", "1.0", "2.0"]]), 80)]
    assert lines[:3] == [
        "                 flow:",
        "        pixels:   ours",
        "method     ours    (%)",
    ]


def test_what_does_not_fit_follows_in_a_block_that_names_its_rows_again():
    columns = [column("method", align="left"), *(column(f"split {n}", "%") for n in range(12))]
    rows = [[f"method {m}", *(f"{m * 12 + n}.0 ± 10.25" for n in range(12))] for m in range(3)]
    lines = [line for line, _ in lines_of(table(columns, rows), 80)]
    assert max(map(len, lines)) <= 80
    words = " ".join(lines)
    assert all(words.count(f" {number}.0 ± 10.25") == 1 for number in range(36))
    blocks = "\n".join(lines).split("\n\n")
    assert len(blocks) == 3
    assert all(block.count("method") == 4 for block in blocks)


def test_a_long_text_is_broken_and_a_number_never():
    name = "perfect prediction (the true frames' own entropy) of a sequence"
    lines = [line for line, _ in lines_of(table([column("m", align="left"), column("x")], [[name, "1.0 ± 0.1"]]), 60)]  # fmt: skip
    assert max(map(len, lines)) <= 60
    assert " ".join("\n".join(lines[2:]).replace("1.0 ± 0.1", "").split()) == name


def test_all_tables_of_the_first_heading_are_printed_with_what_their_numbers_are(tmp_path):
    record = {"title": "A title", "tables": [GROUPED, GROUPED | {"notes": ["A note."]}, GROUPED | {"heading": "Other"}]}  # fmt: skip
    path = tmp_path / "fig12.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    out = io.StringIO()
    show({"fig12.png": tmp_path / "none.png", "fig12.json": path}, out, width=80)
    text = out.getvalue()
    assert text.count("digits, LSTM") == text.count("Mean ± sd.") == 2
    assert text.count("A note.") == text.count("A title") == 1
    assert "\x1b" not in text
    assert main_tables({"title": "nothing"}) == []


def test_an_empty_table_is_its_heading():
    lines = [
        line for line, _ in lines_of(table([column("method", align="left"), column("n")], []), 80)
    ]
    assert lines == ["method  n", "─────────"]
