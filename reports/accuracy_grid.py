"""Rows and columns of Tables 1, 3 and 4 as the paper prints them, with our lines and its numbers at their places.

Tables and figures are both made from it, so that they show the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.accuracy_layouts import Layout, stream_set, stream_words
from reports.accuracy_lines import Line
from reports.published import Published
from reports.tables import videos


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A method; in Table 4 a method on the streams of one set."""

    group: str
    """Name of the set; empty where rows are in none."""
    method: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """What a row is measured on."""

    dataset: str
    stream: str
    """Empty where rows say it."""
    shots: str
    labels_per_class: float

    def parts(self, *, with_stream: bool, with_shots: bool) -> list[str]:
        """Stream and labels in words."""
        shown = [stream_words(self.stream)] if with_stream and self.stream else []
        if with_shots:
            shown.append(f"{videos(self.shots, self.labels_per_class)} videos per class")
        return shown


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grid:
    """The places; a place may have a line of ours, a number of the paper's, both or none."""

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    lines: Mapping[tuple[Row, Column], Line]
    published: Mapping[tuple[Row, Column], Published]

    @property
    def datasets(self) -> tuple[str, ...]:
        """In the order of columns."""
        return tuple(dict.fromkeys(column.dataset for column in self.columns))

    def of(self, dataset: str) -> tuple[Column, ...]:
        """The columns of one dataset."""
        return tuple(column for column in self.columns if column.dataset == dataset)

    def parts(self, column: Column) -> list[str]:
        """What stands over a column besides the name of its dataset."""
        shots = len({each.shots for each in self.columns}) > 1 or column.shots != "all"
        # One stream everywhere need not be said in a table whose columns differ in labels.
        streams = len({each.stream for each in self.columns}) > 1 or not shots
        return column.parts(with_stream=streams, with_shots=shots)


def grid(lines: Sequence[Line], layout: Layout) -> Grid:
    """The lines at their places.

    Args:
        lines: as of `reports.accuracy_lines.measured`.
        layout: of the same table.
    """
    column_of: dict[tuple[str, str, str], Column] = {}
    for line in lines:
        # Labels per class of "all" may differ between lines by the splits that they are over: they make no other column.
        column_of.setdefault(_place(line, layout), _column(line, layout))
    columns = tuple(column_of.values())
    row_of = _by_stream(lines, layout) if layout.by_stream else _by_method(lines, layout)
    rows = list(dict.fromkeys(row_of.values()))
    published: dict[tuple[Row, Column], Published] = {}
    if layout.by_stream:
        for one in layout.printed():
            group = stream_words(one.modality)
            same = [row for row in rows if (row.group, row.method) == (group, one.method)]
            row = same[-1] if same else Row(group=group, method=one.method, name=one.method)
            rows += [] if same else [row]
            for column in columns:
                if (column.dataset, column.shots) == (one.dataset, one.shots):
                    published[row, column] = one
    else:
        for row in rows:
            for column in columns:
                found = layout.published(column.dataset, row.method, column.shots, column.stream)
                if found is not None:
                    published[row, column] = found
    order = {row: place for place, row in enumerate(_ordered(rows, layout))}
    return Grid(
        rows=tuple(order),
        columns=columns,
        lines={(row_of[line], column_of[_place(line, layout)]): line for line in lines},
        published=published,
    )


def _ordered(rows: Sequence[Row], layout: Layout) -> list[Row]:
    """In the order of the paper: sets, then methods as it prints them; others after them."""
    if not layout.by_stream:
        methods = layout.order(row.method for row in rows)
        return sorted(rows, key=lambda row: methods.index(row.method))
    printed = [(stream_words(one.modality), one.method) for one in layout.printed()]
    groups = [*dict.fromkeys(group for group, _ in printed)]
    groups += [row.group for row in rows if row.group not in groups]

    def place(row: Row) -> tuple[int, int]:
        mine = (row.group, row.method)
        return groups.index(row.group), printed.index(mine) if mine in printed else len(printed)

    return sorted(rows, key=place)


def _place(line: Line, layout: Layout) -> tuple[str, str, str]:
    return line.dataset, "" if layout.by_stream else line.stream, line.shots


def _column(line: Line, layout: Layout) -> Column:
    dataset, stream, shots = _place(line, layout)
    return Column(
        dataset=dataset, stream=stream, shots=shots, labels_per_class=line.labels_per_class
    )


def _by_method(lines: Sequence[Line], layout: Layout) -> dict[Line, Row]:
    return {
        line: Row(group="", method=line.method, name=layout.name(line.method)) for line in lines
    }


def _by_stream(lines: Sequence[Line], layout: Layout) -> dict[Line, Row]:
    """Rows of Table 4; of several streams in one set each has a row, and says its stream."""
    streams: dict[tuple[str, str], set[str]] = {}
    for line in lines:
        streams.setdefault((line.dataset, stream_set(line.stream)), set()).add(line.stream)
    several = {group for (_, group), mine in streams.items() if len(mine) > 1}
    rows = {}
    for line in lines:
        group = stream_set(line.stream)
        said = f" ({stream_words(line.stream)})" if group in several else ""
        rows[line] = Row(
            group=stream_words(group), method=line.method, name=layout.name(line.method) + said
        )
    return rows
