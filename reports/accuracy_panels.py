"""The figure of Tables 1, 3 and 4: a dot with its interval for every place of ours, a hollow mark for every published number.

One panel a column, one line a row; takes a `reports.accuracy_grid.Grid` and draws exactly its numbers.
"""

import math
import textwrap
from collections.abc import Mapping

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.accuracy_grid import Column, Grid, Row
from reports.accuracy_layouts import dataset_words
from reports.accuracy_lines import Line
from reports.style import FAINT, INK, PAGE_WIDTH, PUBLISHED_MARKER, look, new_figure
from reports.tables import count

MOST_ACROSS = 4
"""Panels in one line of the figure."""
_LETTERS_PER_INCH = 16  # of the legend's font
_LETTERS = 30  # of a row's name in one line
_ROW = 0.3  # inches


def accuracy_dots(places: Grid, chance: Mapping[str, float]) -> Figure:
    """The figure; call it inside `reports.style.paper_style`.

    Args:
        places: what is shown.
        chance: dataset to chance level in percent; datasets that are not in it get no line.
    """
    across = min(MOST_ACROSS, len(places.columns))
    down = math.ceil(len(places.columns) / across)
    rows = _shown(places)
    handles = _handles(places, chance)
    width = PAGE_WIDTH if across > 1 else PAGE_WIDTH * 0.75
    legend = 0.17 * math.ceil(len(handles) / _legend_columns(handles, width))
    height = down * (0.75 + _ROW * len(rows)) + 0.2 + legend
    figure = new_figure(width, height)
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    for at, panel in enumerate(panels):
        panel.set_visible(at < len(places.columns))
    for panel, column in zip(panels, places.columns, strict=False):
        _panel(panel, places, rows, column)
        if column.dataset in chance:
            level = chance[column.dataset]
            panel.axvline(level, color=FAINT, linewidth=0.8, linestyle=":", zorder=1)
    if not places.published and not any(line.complete for line in places.lines.values()):
        panels[0].set_xlim(0, 100)
    # The axes are shared: set once.
    panels[0].set_yticks(range(len(rows)), [_name(row) for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    for panel in panels[len(places.columns) - across : len(places.columns)]:
        panel.set_xlabel("video accuracy (%)")
    figure.legend(
        handles=handles, loc="outside lower center", ncols=_legend_columns(handles, width)
    )
    return figure


def _shown(places: Grid) -> list[Row]:
    """The rows that have anything in any column."""
    return [
        row
        for row in places.rows
        if any(
            (row, column) in places.lines or (row, column) in places.published
            for column in places.columns
        )
    ]


def _name(row: Row) -> str:
    text = f"{row.group}: {row.name}" if row.group else row.name
    return textwrap.fill(text, _LETTERS)


def _panel(panel: Axes, places: Grid, rows: list[Row], column: Column) -> None:
    """One column."""
    title = (dataset_words(column.dataset), *places.parts(column))
    panel.set_title("\n".join(title), loc="left", fontsize=8)
    panel.tick_params(axis="y", length=0)
    panel.grid(visible=True, axis="x")
    panel.grid(visible=False, axis="y")
    groups = [row.group for row in rows]
    for place, row in enumerate(rows):
        if place and groups[place] != groups[place - 1]:
            panel.axhline(place - 0.5, color=FAINT, linewidth=0.5)
        line = places.lines.get((row, column))
        if line is not None:
            _dot(panel, place, line, _look_of(row, rows))
        printed = places.published.get((row, column))
        if printed is not None:
            panel.plot(
                printed.value,
                place,
                PUBLISHED_MARKER,
                color=INK,
                markersize=6,
                markerfacecolor="none",
                zorder=5,
            )


def _look_of(row: Row, rows: list[Row]) -> int:
    """Rows in sets are told apart by their set, others by their place."""
    return list(dict.fromkeys(each.group or each.name for each in rows)).index(
        row.group or row.name
    )


def _dot(panel: Axes, place: int, line: Line, at: int) -> None:
    """One line of ours: its splits small, its interval as a bar, its mean on top; what is incomplete says how far it is."""
    style = look(at)
    if not line.complete:
        panel.annotate(
            count(line.n, line.expected),
            (0.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=6.5,
            color=FAINT,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
        return
    if line.over == "splits":
        shown = list(line.by_split.values())
        panel.plot(shown, [place + 0.2] * len(shown), "|", color=style.colour, markersize=4)
    if not math.isnan(line.low):
        panel.plot(
            [line.low, line.high],
            [place, place],
            color=style.colour,
            linewidth=1.4,
            solid_capstyle="butt",
        )
    panel.plot(line.mean, place, style.marker, color=style.colour, markersize=5, zorder=4)


def _handles(places: Grid, chance: Mapping[str, float]) -> list[Artist]:
    """Legend: what dots, bars, strokes and hollow marks are."""
    done = [line for line in places.lines.values() if line.complete]
    handles: list[Artist] = [_mark("o", "ours")]
    kinds = {line.over == "resamples" for line in done if not math.isnan(line.low)}
    if kinds:
        over = {
            (True,): "over resamples",
            (False,): "over test videos",
            (False, True): "over resamples; over test videos at all",
        }[tuple(sorted(kinds))]
        handles.append(Line2D([], [], color=INK, linewidth=1.4, label=f"95 % interval {over}"))
    if any(line.over == "splits" for line in done):
        handles.append(_mark("|", "one split"))
    if places.published:
        hollow = _mark(PUBLISHED_MARKER, "published")
        hollow.set_markerfacecolor("none")
        handles.append(hollow)
    if any(column.dataset in chance for column in places.columns):
        handles.append(Line2D([], [], color=FAINT, linestyle=":", linewidth=0.8, label="chance"))
    return handles


def _legend_columns(handles: list[Artist], width: float) -> int:
    """As many entries beside each other as fit if each were the longest, and at least two."""
    letters = max(len(str(handle.get_label())) for handle in handles) + 7
    return min(len(handles), max(2, int(width * _LETTERS_PER_INCH / letters)))


def _mark(marker: str, label: str) -> Line2D:
    return Line2D([], [], color=INK, linestyle="none", marker=marker, markersize=5, label=label)
