"""A report's main table on the terminal, as wide as that is; columns that do not fit follow in a block of their own.

What is printed is read from the record of the report (NAME.json), so it is what all its other forms show.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

_GAP = "  "
_WIDEST_TEXT = 34  # letters of a column of texts; longer ones are broken into lines


def show(
    files: Mapping[str, Path], file: TextIO | None = None, *, width: int | None = None
) -> None:
    """Print the main table of every report among these files.

    Args:
        files: a report's files by name; those of a part as PART/FILE.
        file: where to; stdout if left out.
        width: letters of a line; those of the terminal if left out.
    """
    console = Console(file=file, width=width, highlight=False)
    for name, path in files.items():
        if not name.endswith(".json"):
            continue
        record = json.loads(path.read_bytes())
        console.print()
        _print(console, record["title"], "bold")
        for table in main_tables(record):
            show_table(table, console)


def main_tables(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tables under the first heading of a report: one, or one for each dataset."""
    tables: list[Mapping[str, Any]] = record.get("tables", [])
    return [table for table in tables if table["heading"] == tables[0]["heading"]]


def show_table(table: Mapping[str, Any], console: Console) -> None:
    """Print a table, its caption and its notes.

    Args:
        table: its fields, as in the record of a report.
        console: where to.
    """
    console.print()
    for line, style in lines_of(table, console.width):
        _print(console, line, style)
    for sentence in (table["caption"], *table["notes"]):
        console.print()
        for line in textwrap.wrap(sentence, console.width):
            _print(console, line, "dim")


def _print(console: Console, line: str, style: str) -> None:
    console.print(Text(line, style=style), soft_wrap=True)


def lines_of(table: Mapping[str, Any], width: int) -> Iterator[tuple[str, str]]:
    """The lines of a table and the style of each; the columns of a group stand in a line above its rows.

    Args:
        table: columns, rows and `group_by`, as in the record of a report.
        width: letters of a line.
    """
    group = table["group_by"]
    rows, columns = table["rows"], table["columns"][group:]
    texts = [
        [_broken(row[group + place], column["align"]) for row in rows]
        for place, column in enumerate(columns)
    ]
    heads = [_head(column, cells) for column, cells in zip(columns, texts, strict=True)]
    widths = [
        max(map(len, [*head, *(line for cell in cells for line in cell)]), default=0)
        for head, cells in zip(heads, texts, strict=True)
    ]
    for number, shown in enumerate(_blocks(widths, width)):
        if number:
            yield "", ""
        aligned = [(columns[place]["align"], widths[place]) for place in shown]
        tall = max(len(heads[place]) for place in shown)
        above = [[""] * (tall - len(heads[place])) + heads[place] for place in shown]
        for line in _together(above, aligned):
            yield line, "bold"
        yield "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * (sum(w for _, w in aligned) + len(_GAP) * (len(shown) - 1)), ""  # fmt: skip
        for place, row in enumerate(rows):
            if group and (place == 0 or row[:group] != rows[place - 1][:group]):
                for line in textwrap.wrap(", ".join(row[:group]), width):
                    yield line, "italic"
            for line in _together([texts[each][place] for each in shown], aligned):
                yield line, ""


def _broken(text: str, align: str) -> list[str]:
    """The lines of a cell; a number stays in one."""
    return [text] if align == "right" else textwrap.wrap(text, _WIDEST_TEXT) or [""]


def _head(column: Mapping[str, Any], cells: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a heading, as narrow as the cells below it and its longest word allow."""
    heading = f"{column['header']} ({column['unit']})" if column["unit"] else column["header"]
    heading = f"{column['over']}: {heading}" if column["over"] else heading
    widest = max([len(line) for cell in cells for line in cell] + [len(w) for w in heading.split()], default=1)  # fmt: skip
    return textwrap.wrap(heading, max(widest, 1), break_long_words=False) or [""]


def _blocks(widths: Sequence[int], width: int) -> list[list[int]]:
    """Which columns stand beside each other: each block begins with the first column, which names the rows."""
    blocks, used = [[0]], widths[0]
    for place, own in enumerate(widths[1:], start=1):
        if used + len(_GAP) + own > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1].append(place)
        used += len(_GAP) + own
    return blocks


def _together(cells: Sequence[Sequence[str]], aligned: Sequence[tuple[str, int]]) -> Iterator[str]:
    """The lines of some cells beside each other."""
    for number in range(max(map(len, cells))):
        parts = [
            (cell[number] if number < len(cell) else "").rjust(wide)
            if align == "right"
            else (cell[number] if number < len(cell) else "").ljust(wide)
            for cell, (align, wide) in zip(cells, aligned, strict=True)
        ]
        yield _GAP.join(parts).rstrip()
