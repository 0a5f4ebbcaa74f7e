"""A small table of texts, and its four written forms: Markdown, LaTeX, HTML and csv.

Numbers become text here and nowhere else, so that all forms of one table agree. What goes into a table is decided by
the artefact's own file.
"""

import html as escaping
import itertools
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

MISSING = "\N{EN DASH}"
"""Stands for a number that does not exist."""
INCOMPLETE = "\N{DAGGER}"
"""Follows a count of resamples that is lower than it should be."""
MINUS = "\N{MINUS SIGN}"
"""The sign of a negative number in print; csv and json keep the plain hyphen."""

_HEADING_WIDTH = 20  # letters of one line of a heading in LaTeX


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
    """A number with a true minus sign and a fixed count of decimals; `MISSING` for None and nan."""
    if value is None or math.isnan(value):
        return MISSING
    text = f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"  # + 0.0 turns -0.0 into 0.0
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


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    # At the start of a row, [ and * would be read as arguments of the line break before them.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\N{PLUS-MINUS SIGN}": r"\ensuremath{\pm}",
    MINUS: r"\ensuremath{-}",
    "\N{MULTIPLICATION SIGN}": r"\ensuremath{\times}",
    MISSING: "--",
    INCOMPLETE: r"\textdagger{}",
}


def latex_text(text: str) -> str:
    """Text with every character escaped that LaTeX gives a meaning to; white space becomes single spaces."""
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


def latex(table: Table) -> str:
    r"""A `table` environment for a document that loads booktabs.

    The columns of a group become a line of their own above its rows: a method's name in every row would be wider than
    a page.
    """
    columns = table.columns[table.group_by :]
    shape = "".join("r" if column.align == "right" else "l" for column in columns)
    lines = [
        r"\begin{table}[tbp]",
        r"\centering\small",
        rf"\caption{{{latex_text(table.caption)}}}",
        *([rf"\label{{{table.label}}}"] if table.label else []),
        rf"\begin{{tabular}}{{{shape}}}",
        r"\toprule",
        *_latex_over(columns),
        " & ".join(_latex_heading(column) for column in columns) + r" \\",
        r"\midrule",
    ]
    for place, row in enumerate(table.rows):
        if table.group_by and table.begins_group(place):
            group = latex_text(", ".join(row[: table.group_by]))
            lines += [r"\addlinespace"] if place else []
            lines.append(rf"\multicolumn{{{len(columns)}}}{{l}}{{\textit{{{group}}}}} \\")
        lines.append(_latex_row(row[table.group_by :]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
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


def _latex_heading(column: Column) -> str:
    """A heading; in several lines where it is long, as a column is as wide as its heading."""
    first, *others = textwrap.wrap(
        column.own, _HEADING_WIDTH, break_long_words=False, break_on_hyphens=False
    ) or [""]
    if not others:
        return latex_text(first)
    shown = r" \\ ".join(latex_text(line) for line in (first, *others))
    return rf"\shortstack[{column.align[0]}]{{{shown}}}"


def _latex_row(cells: list[str] | tuple[str, ...]) -> str:
    return " & ".join(latex_text(cell) for cell in cells) + r" \\"


def latex_document(*tables: Table) -> str:
    """A document of its own around the tables, to look at them or to check that they compile."""
    head = [
        r"\documentclass{article}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage[margin=2cm]{geometry}",
        r"\usepackage{booktabs}",
        r"\begin{document}",
    ]
    return "\n".join([*head, *(latex(table) for table in tables), r"\end{document}"]) + "\n"


def html(table: Table) -> str:
    """A `table` element with its caption, then the notes as paragraphs."""
    heads = "".join(
        f'<th scope="col" class="{column.align}">{escaping.escape(column.heading)}</th>'
        for column in table.columns
    )
    rows = []
    for place, row in enumerate(table.rows):
        cells = "".join(
            f'<td class="{column.align}">{escaping.escape(cell)}</td>'
            for column, cell in zip(table.columns, row, strict=True)
        )
        mark = ' class="group"' if table.group_by and place and table.begins_group(place) else ""
        rows.append(f"<tr{mark}>{cells}</tr>")
    parts = [
        "<table>",
        f"<caption>{escaping.escape(table.caption)}</caption>",
        f"<thead><tr>{heads}</tr></thead>",
        "<tbody>",
        *rows,
        "</tbody>",
        "</table>",
        *(f'<p class="note">{escaping.escape(note)}</p>' for note in table.notes),
    ]
    return "\n".join(parts) + "\n"


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
