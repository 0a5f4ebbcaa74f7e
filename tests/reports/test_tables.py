"""Numbers become text once, and no text can break out of the form it is written in."""

import io
import math
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from reports.tables import (
    MINUS,
    MISSING,
    Column,
    Table,
    count,
    csv_bytes,
    html,
    interval,
    latex,
    latex_document,
    markdown,
    mean_sd,
    number,
    p_value,
    videos,
)
from reports.typeset import latex_text, numbers
from tests.latex import NEEDED, PAPER, assert_typesets_both_ways, typeset

NASTY = r"100%_&#{}~^\ $x$ <b> | [a] *b* `c` \"d\""


def table(*rows: tuple[str, ...], **changes: object) -> Table:
    columns = (Column(header="method"), Column(header="accuracy", unit="%", align="right"))
    return Table(**{"columns": columns, "rows": rows, "caption": "Accuracy"} | changes)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (74.46, "74.5"),
        (None, MISSING),
        (math.nan, MISSING),
        (-1.25, f"{MINUS}1.2"),
        (-0.01, "0.0"),
        (0.0, "0.0"),
    ],
)
def test_numbers_have_one_decimal_and_a_true_minus(value, text):
    assert number(value) == text


def test_differences_carry_their_sign_and_zero_has_none():
    assert [number(v, signed=True) for v in (1.0, -1.0)] == ["+1.0", f"{MINUS}1.0"]
    assert [number(v, signed=True) for v in (0.0, -0.0, 0.04, -0.001)] == ["0.0"] * 4


def test_a_mean_of_one_resample_has_no_spread():
    assert mean_sd(50.0, math.nan) == "50.0"
    assert mean_sd(50.0, 0.0) == "50.0 ± 0.0"
    assert mean_sd(math.nan, math.nan) == MISSING


def test_an_incomplete_count_shows_both_numbers_and_a_mark():
    assert count(10, 10) == "10"
    assert count(9, 10) == "9/10 †"


def test_all_videos_say_how_many_they_are():
    assert videos("all", 94.6) == "all (95)"
    assert videos("10", 10.0) == "10"


def test_a_p_value_is_never_zero():
    assert [p_value(p) for p in (0.0456, 0.9999, 1.0, 0.00099, 1e-9, math.nan)] == [
        "0.046",
        "1.000",
        "1.000",
        "<0.001",
        "<0.001",
        MISSING,
    ]
    frame = pd.DataFrame({"p": [1.23456e-7, math.nan, 0.5], "x": [1.23456e-7, 1.0, 2.0]})
    assert csv_bytes(frame).decode().splitlines() == ["p,x", "1.23e-07,0.0000", ",1.0000", "0.5,2.0000"]  # fmt: skip


def test_an_interval_has_both_ends_or_none():
    assert interval(-1.0, 2.25, signed=True) == f"[{MINUS}1.0, +2.2]"
    assert interval(math.nan, 2.0) == MISSING


def test_a_row_of_the_wrong_width_is_refused():
    with pytest.raises(ValueError, match="row 0 has 1 cells for 2 columns"):
        table(("only one",))


def test_markdown_escapes_borders_and_html():
    text = markdown(table(("a|b <script> `x` *y*", "1.0")))
    assert r"| a\|b &lt;script> \`x\` \*y\* | 1.0 |" in text
    assert "| :--- | ---: |" in text
    assert "| method | accuracy (%) |" in text


def test_markdown_keeps_a_plain_ampersand_and_a_cell_on_one_line():
    assert "| Nadeau & Bengio &amp;lt; | 1.0 |" in markdown(table(("Nadeau &\nBengio &lt;", "1.0")))


def test_latex_escapes_every_special_character():
    assert latex_text(r"%_&#{}~^\ $") == (
        r"\%\_\&\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{} \$"
    )
    assert latex_text(f"±{MINUS}{MISSING}†") == r"\ensuremath{\pm}\ensuremath{-}--\textdagger{}"


def test_what_has_no_glyph_is_shown_as_its_number():
    assert latex_text("a\N{CJK UNIFIED IDEOGRAPH-4E2D}b \u2192\x07") == (
        r"a{[}U+4E2D{]}b \ensuremath{\rightarrow}"
    )


def test_latex_breaks_long_headings_between_words_and_no_others():
    columns = (
        Column(header="model"),
        Column(header="published, Moving MNIST & patches", unit="nats/frame", align="right"),
    )
    lines = r"{published, \\ Moving MNIST \\ \& patches \\ (nats/frame)}"
    text = latex(Table(columns=columns, rows=(("a", "1"),), caption="c"))
    assert rf"model & {{\shortstack{lines}}} \\" in text.split("\n")  # in braces above numbers
    text = latex(Table(columns=columns, rows=(("a", "[1, 2]"),), caption="c"))
    assert rf"model & \shortstack[r]{lines} \\" in text.split("\n")


def test_latex_protects_brackets_that_would_become_arguments_of_a_line_break():
    lines = latex(table(("*", "1"), ("[a]", "2"))).split("\n")
    assert r"{*} & 1 \\" in lines
    assert r"{[}a{]} & 2 \\" in lines


@pytest.mark.parametrize(
    ("texts", "format"),
    [
        (["54.3 ± 1.2", "7.0"], "2.1(2)"),
        (["100.0 ± 0.0", MISSING], "3.1(1)"),
        (["+3.4", f"{MINUS}12.5"], "+2.1"),
        (["1,234,567", "12"], "7"),
        (["0.900 ± 0.016"], "1.3(2)"),
        (["10", "9/10 †"], "2"),
        (["all (95)", "1"], "1"),
    ],
)
def test_the_format_of_a_column_has_room_for_each_of_its_numbers(texts, format):
    column = numbers(texts)
    assert column is not None
    assert column.shape == f"S[table-format={format}]"


def test_a_column_without_numbers_is_none():
    assert numbers([MISSING, "[1.0, 2.0]", "9/10 †", "2 x 128", "1.2 ± 0.34"]) is None


def test_numbers_are_for_siunitx_and_all_else_is_in_braces():
    column = numbers(["1"])
    assert column is not None
    cells = [
        "54.3 ± 1.2",
        f"{MINUS}1.5",
        "+2.0",
        "1,234",
        MISSING,
        "9/10 †",
        "7.0 (9/10 †)",
        "[a]",
        "",
    ]
    assert [column.cell(text) for text in cells] == [
        r"54.3 \pm 1.2", "-1.5", "+2.0", "1234", "{--}", r"{9/10 \textdagger{}}",
        r"{7.0 (9/10 \textdagger{})}", "{{[}a{]}}", "{}",
    ]  # fmt: skip


def test_latex_is_balanced_whatever_the_texts_are():
    text = latex(
        table((NASTY, "1.0"), (NASTY, "2.0"), caption=NASTY, notes=(NASTY,), label="tab:x")
    )
    plain = re.sub(r"\\[\\{}%&$#_]", "", text)  # without escaped signs
    assert plain.count("{") == plain.count("}")
    assert re.findall(r"\\begin\{(\w+)\}", text) == ["table", "tabular", "minipage"]
    assert re.findall(r"\\end\{(\w+)\}", text) == ["tabular", "minipage", "table"]
    own = text.replace(r"\sbox0{%", "").replace(r"\end{tabular}}%", "")
    assert not re.search(r"[~^$#%]", re.sub(r"\\[%$#]", "", own))
    rows = [line for line in text.split("\n") if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [1, 1, 1]


def test_latex_lifts_the_columns_of_a_group_above_its_rows():
    text = latex(table(("a", "1"), ("a", "2"), ("b_c", "3"), group_by=1))
    assert text.count(r"\multicolumn{1}{l}{\textit{a}}") == 1
    assert r"\multicolumn{1}{l}{\textit{b\_c}}" in text
    assert text.count(r"\addlinespace") == 1
    assert r"\begin{tabular}{S[table-format=1]}" in text


def test_a_table_longer_than_a_page_goes_on_with_its_heading_and_group():
    rows = tuple((f"g{place // 50}", str(place)) for place in range(100))
    text = latex(table(*rows, group_by=1, notes=("A note.",), label="tab:x"))
    pages = text.split(r"\begin{table}")[1:]
    shown = [re.findall(r"^(\d+) \\\\$", page, flags=re.MULTILINE) for page in pages]
    assert [int(each) for page in shown for each in page] == list(range(100))
    assert len(pages) == 3
    assert max(map(len, shown)) <= 42
    assert [r"\caption{Continued.}" in page for page in pages] == [False, True, True]
    assert [r"\textit{g" in page for page in pages] == [True] * 3
    assert [page.count("accuracy") for page in pages] == [1] * 3
    assert text.count(r"\label{tab:x}") == text.count("A note.") == 1
    assert text.index(r"\label") < text.index(r"\clearpage") < text.index("A note.")


def test_every_text_and_number_typesets_both_ways(tmp_path):
    wide = Table(
        columns=(Column(header="group"), *(Column(header=f"heading number {n}", align="right") for n in range(12))),
        rows=tuple((NASTY, *cells) for cells in (("123.4 ± 5.6",) * 12, ("9/10 †",) * 12)),
        caption="Wider than a page.",
    )  # fmt: skip
    tables = [
        table((NASTY, "9/10 †"), caption=NASTY, notes=(NASTY,), label="tab:x"),
        table((NASTY, "1.0 ± 2"), (NASTY, f"{MINUS}2.0"), ("e\N{COMBINING ACUTE ACCENT} 中 →", MISSING), group_by=1),
        table(*((f"m{n}", str(n)) for n in range(60))),
        table(),
        wide,
    ]  # fmt: skip
    content = latex_document("a_b", tables, told=[f"knobs: {NASTY}", "x" * 300])
    assert_typesets_both_ways(tmp_path, "a_b", content)


@pytest.mark.parametrize("package", NEEDED.split(","))
def test_a_paper_without_a_package_is_told_which(tmp_path, package):
    (tmp_path / "t.tex").write_bytes(latex_document("t", [table(("a", "1"))]))
    others = ",".join(each for each in NEEDED.split(",") if each != package)
    (tmp_path / "paper.tex").write_text(PAPER % (others, "t"), encoding="utf-8")
    code, said = typeset(tmp_path, "paper")
    assert code == 1
    told = "".join(said.split("\n"))  # it breaks lines anywhere
    assert rf"These tables need \usepackage{{{package}}} in the preamble" in told


def test_html_escapes_texts_wherever_they_stand():
    evil = "<script>alert(1)</script>"
    text = html(table((evil, "1"), caption=evil, notes=(evil,)))
    assert "<script>" not in text
    assert text.count("&lt;script&gt;") == 3


def test_html_has_one_cell_per_column_and_marks_groups():
    cells: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            cells.append(tag + dict(attrs).get("class", ""))

    Reader().feed(html(table(("a", "1"), ("a", "2"), ("b", "3"), group_by=1)))
    assert cells.count("tdright") == 3
    assert cells.count("trgroup") == 1


def links(text: str) -> list[tuple[str, str]]:
    return re.findall(
        r'<td class="cells">(?:<a href="#cells" data-cells="([^"]*)"[^>]*>)?([^<]*)', text
    )


def test_a_row_leads_to_the_cells_that_it_rests_on():
    made = table(
        *((name, "1") for name in "abcd"), rests_on=(("k0", "k1", "k2", "k4"), ("k3",), (), ("other",))
    )  # fmt: skip
    places = {f"k{n}": n for n in range(5)}
    assert links(html(made, places)) == [
        ("0-2 4", "4"), ("3", "1"), ("", MISSING), ("", MISSING),
    ]  # fmt: skip
    assert links(html(made)) == links(html(made, {})) == []
    assert "cells" not in html(table(("a", "1")), places)


def test_csv_has_four_decimals_points_and_line_feeds():
    frame = pd.DataFrame(
        {"name": ['a,"b"', None], "n": [1, 2], "x": [1 / 3, math.nan], "y": [-1e-9, 5.0]}
    )
    assert csv_bytes(frame) == b'name,n,x,y\n"a,""b""",1,0.3333,0.0000\n,2,,5.0000\n'


def test_csv_reads_back_as_the_same_numbers():
    frame = pd.DataFrame({"name": ["ä", "b|c"], "n": [1, 2], "x": [74.5678, -1.25]})
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(csv_bytes(frame))), frame)
