"""A small table of texts, and its four written forms: Markdown, LaTeX, HTML and csv.

Numbers become text here and nowhere else, so that all forms of one table agree. What goes into a table is decided by
the artefact's own file.
"""

import html as escaping
import itertools
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import pandas as pd

from reports.typeset import SETUP, Numbers, latex_file, latex_text, numbers

MISSING = "\N{EN DASH}"
"""Stands for a number that does not exist."""
INCOMPLETE = "\N{DAGGER}"
"""Follows a count of resamples that is lower than it should be."""
MINUS = "\N{MINUS SIGN}"
"""The sign of a negative number in print; csv and json keep the plain hyphen."""

_HEADING_WIDTH = (
    12  # letters of one line of a heading in LaTeX, where the cells below it are not wider
)
_LONG_TEXT = 40  # letters from which on a column of texts is broken into lines in LaTeX
_PAGE_LINES = 42  # rows and lines above groups that fit a page in LaTeX


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column: its heading, the unit of its numbers and how they are aligned."""

    header: str
    unit: str = ""
    """Printed in brackets after the heading, empty for texts."""
    align: Literal["left", "right"] = "left"
    over: str = ""
    """Text that stands once above neighbouring columns of the same text: in LaTeX a line of its own, else before each header."""

    @property
    def own(self) -> str:
        """Header and unit as one text."""
        return f"{self.header} ({self.unit})" if self.unit else self.header

    @property
    def heading(self) -> str:
        """All that is said above the column, as one text."""
        return f"{self.over}: {self.own}" if self.over else self.own


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table whose cells are already text."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    """Says what the numbers are, and of what every spread is one."""
    notes: tuple[str, ...] = ()
    """Sentences printed under the table."""
    label: str = ""
    """Target of a LaTeX cross reference, such as "tab:fig12"; empty for none."""
    group_by: int = 0
    """How many leading columns make a group: rows with the same texts there belong together."""
    rests_on: tuple[tuple[str, ...], ...] = ()
    """For each row the keys of the cells that its numbers were reduced from; empty where a table does not say."""

    def __post_init__(self) -> None:
        """Refuse rows of another width than the heading."""
        for place, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"row {place} has {len(row)} cells for {len(self.columns)} columns"
                )
        if self.rests_on and len(self.rests_on) != len(self.rows):
            raise ValueError(
                f"{len(self.rests_on)} rows say what they rest on, of {len(self.rows)}: all do, or none"
            )

    def begins_group(self, place: int) -> bool:
        """Whether the row at this place has other group texts than the row above it."""
        width = self.group_by
        return place == 0 or self.rows[place][:width] != self.rows[place - 1][:width]


def number(value: float | None, *, digits: int = 1, signed: bool = False) -> str:
    """A number with a true minus sign and a fixed count of decimals; `MISSING` for None and nan. What rounds to 0 has no sign."""
    if value is None or math.isnan(value):
        return MISSING
    rounded = round(value, digits) + 0.0  # + 0.0 turns -0.0 into 0.0
    text = f"{rounded:{'+' if signed and rounded else ''}.{digits}f}"
    return text.replace("-", MINUS)


def mean_sd(mean: float, sd: float, *, digits: int = 1) -> str:
    """Mean ± sd; the mean alone where one resample has no spread."""
    return (
        number(mean, digits=digits)
        if math.isnan(sd)
        else f"{number(mean, digits=digits)} ± {sd:.{digits}f}"
    )


def count(n: int, expected: int) -> str:
    """How many resamples a mean is over: "10", or "9/10 †" when one is missing."""
    return str(n) if n == expected else f"{n}/{expected} {INCOMPLETE}"


def p_value(p: float) -> str:
    """A p value with three decimals, "<0.001" below what they can show; `MISSING` for nan."""
    if math.isnan(p):
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def interval(low: float, high: float, *, signed: bool = False) -> str:
    """An interval as [low, high]; `MISSING` where there is none."""
    if math.isnan(low) or math.isnan(high):
        return MISSING
    return f"[{number(low, signed=signed)}, {number(high, signed=signed)}]"


def videos(shots: str, labels_per_class: float) -> str:
    """Labelled videos per class: "10", or "all (95)" with the rounded mean over classes and splits."""
    return f"all ({labels_per_class:.0f})" if shots == "all" else shots


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, caption first, notes last."""
    marks = ["---:" if column.align == "right" else ":---" for column in table.columns]
    lines = [
        markdown_text(table.caption),
        "",
        _markdown_row([column.heading for column in table.columns]),
        "| " + " | ".join(marks) + " |",
        *(_markdown_row(row) for row in table.rows),
    ]
    for note in table.notes:
        lines += ["", markdown_text(note)]
    return "\n".join(lines) + "\n"


def markdown_text(text: str) -> str:
    """Text with everything escaped that Markdown would read as a table border, emphasis, code or HTML."""
    for sign in "\\|*`":
        text = text.replace(sign, f"\\{sign}")
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return " ".join(text.replace("<", "&lt;").split())


def _markdown_row(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(markdown_text(cell) for cell in cells) + " |"


def latex(table: Table) -> str:
    r"""A `table` environment for a document that loads booktabs, siunitx and graphicx; several when it is longer than a page.

    Numbers are aligned at their decimal points (siunitx), texts in their columns stand in braces. The columns of a group
    become a line of their own above its rows: a method's name in every row would be wider than a page. What is wider than
    a line all the same is made smaller.
    """
    return "\n".join(_latex_page(table, rows) for rows in _pages(table))


def latex_document(name: str, tables: Sequence[Table], *, told: Sequence[str] = ()) -> bytes:
    """The tables as a file that compiles as it is and can be part of a paper, as `typeset.latex_file` says."""
    return latex_file(name, [latex(table) for table in tables], told=told).encode()


def _pages(table: Table) -> list[range]:
    """The rows of each page, in order; one page of none for an empty table."""
    starts, used = [0], 0
    for place in range(len(table.rows)):
        used += 1 + (table.group_by > 0 and table.begins_group(place))
        if used > _PAGE_LINES:
            starts.append(place)
            used = 2
    return [range(*ends) for ends in pairwise([*starts, len(table.rows)])]


def _latex_page(table: Table, rows: range) -> str:
    """The rows of one page with caption and heading; the notes follow the last."""
    columns = table.columns[table.group_by :]
    first = not rows or rows[0] == 0
    texts = [[row[place] for row in table.rows] for place in range(len(table.columns))]
    texts = texts[table.group_by :]
    kinds = [
        numbers(own) if column.align == "right" else None
        for column, own in zip(columns, texts, strict=True)
    ]
    caption = latex_text(table.caption) if first else "Continued."
    lines = [
        *([] if first else [r"\clearpage", r"\addtocounter{table}{-1}"]),
        r"\begin{table}[tbp]",
        r"\centering\small",
        SETUP,
        rf"\caption{{{caption}}}",
        *([rf"\label{{{table.label}}}"] if table.label and first else []),
        r"\par\medskip",
        r"\sbox0{%",
        rf"\begin{{tabular}}{{{''.join(map(_shape, columns, kinds, texts))}}}",
        r"\toprule",
        *_latex_over(columns),
        " & ".join(map(_latex_heading, columns, kinds, texts)) + r" \\",
        r"\midrule",
    ]
    for place in rows:
        row = table.rows[place]
        if table.group_by and (place == rows[0] or table.begins_group(place)):
            group = latex_text(", ".join(row[: table.group_by]))
            lines += [] if place == rows[0] else [r"\addlinespace"]
            lines.append(rf"\multicolumn{{{len(columns)}}}{{l}}{{\textit{{{group}}}}} \\")
        cells = (
            latex_text(cell) if kind is None else kind.cell(cell)
            for cell, kind in zip(row[table.group_by :], kinds, strict=True)
        )
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}%"]
    lines.append(r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi")
    if table.notes and (not rows or rows[-1] == len(table.rows) - 1):
        notes = " ".join(latex_text(note) for note in table.notes)
        lines.append(r"\par\smallskip")
        lines.append(rf"\begin{{minipage}}{{\linewidth}}\footnotesize {notes}\end{{minipage}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_over(columns: Sequence[Column]) -> list[str]:
    """The line above the headings, with a rule below each of its texts; nothing where no column has one."""
    cells, rules, at = [], [], 1
    for text, group in itertools.groupby(columns, key=lambda column: column.over):
        width = len(list(group))
        cells.append(
            rf"\multicolumn{{{width}}}{{c}}{{{latex_text(text)}}}" if text else "& " * (width - 1)
        )
        rules += [rf"\cmidrule(lr){{{at}-{at + width - 1}}}"] if text else []
        at += width
    return [" & ".join(cells) + r" \\", "".join(rules)] if rules else []


def _shape(column: Column, kind: Numbers | None, texts: Sequence[str]) -> str:
    """A column in the head of a tabular; one of long texts is a paragraph."""
    if kind is not None:
        return kind.shape
    if column.align == "right":
        return "r"
    long = max(map(len, texts), default=0) > _LONG_TEXT
    return r">{\raggedright\arraybackslash}p{5.5cm}" if long else "l"


def _latex_heading(column: Column, kind: Numbers | None, texts: Sequence[str]) -> str:
    """A heading, in braces above numbers; in several lines where it is long, as a column is as wide as its heading."""
    width = max(_HEADING_WIDTH, *map(len, texts), 0)
    first, *others = textwrap.wrap(
        column.own, width, break_long_words=False, break_on_hyphens=False
    ) or [""]
    if not others:
        return latex_text(first) if kind is None else f"{{{latex_text(first)}}}"
    shown = r" \\ ".join(latex_text(line) for line in (first, *others))
    if kind is not None:
        return rf"{{\shortstack{{{shown}}}}}"
    return rf"\shortstack[{column.align[0]}]{{{shown}}}"


def html(table: Table, places: Mapping[str, int] | None = None) -> str:
    """A `table` element with its caption, then the notes as paragraphs.

    Args:
        table: The table; `reports.sorting` sorts it in a page.
        places: Key of a cell to its place in the page's list of cells (`reports.cells`): where the table says what its rows
            rest on, each row then leads there.
    """
    linked = bool(places) and any(table.rests_on)
    heads = "".join(
        f'<th scope="col" class="{column.align}">{escaping.escape(column.heading)}</th>'
        for column in table.columns
    )
    heads += '<th scope="col" class="cells">cells</th>' if linked else ""
    rows = []
    for place, row in enumerate(table.rows):
        cells = "".join(
            f'<td class="{column.align}">{escaping.escape(cell)}</td>'
            for column, cell in zip(table.columns, row, strict=True)
        )
        if linked:
            cells += f'<td class="cells">{_cells_link(table.rests_on[place], places or {})}</td>'
        mark = ' class="group"' if table.group_by and place and table.begins_group(place) else ""
        rows.append(f"<tr{mark}>{cells}</tr>")
    group = f' data-group="{table.group_by}"' if table.group_by else ""
    parts = [
        f'<table class="sortable"{group}>',
        f"<caption>{escaping.escape(table.caption)}</caption>",
        f"<thead><tr>{heads}</tr></thead>",
        "<tbody>",
        *rows,
        "</tbody>",
        "</table>",
        *(f'<p class="note">{escaping.escape(note)}</p>' for note in table.notes),
    ]
    return "\n".join(parts) + "\n"


def _cells_link(keys: Sequence[str], places: Mapping[str, int]) -> str:
    """How many cells a row rests on, as a link to them in the list; a dash for none."""
    found = {places[key] for key in keys if key in places}
    if not found:
        return MISSING
    starts = sorted(place for place in found if place - 1 not in found)
    ends = sorted(place for place in found if place + 1 not in found)
    ranges = " ".join(
        str(low) if low == high else f"{low}-{high}" for low, high in zip(starts, ends, strict=True)
    )
    return f'<a href="#cells" data-cells="{ranges}" title="show these cells">{len(found)}</a>'


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """The frame as csv: floats with 4 decimals and a point, empty for missing, line feeds, UTF-8.

    p values (columns p and p_holm) have three significant digits: 0.0000 would be none.
    """
    floats = frame.select_dtypes("float").columns
    rounded = frame.assign(**{name: frame[name].round(4) + 0.0 for name in floats})  # no "-0.0000"
    for name in {"p", "p_holm"} & set(floats):
        rounded[name] = ["" if math.isnan(p) else f"{p:.3g}" for p in frame[name]]
    text = rounded.to_csv(index=False, float_format="%.4f", na_rep="", lineterminator="\n")
    return text.encode()
