"""Accuracy against the number of labelled videos per class: one panel per dataset, one curve per method.

Takes the frame of `reports.frame.curve` and draws exactly its numbers. Knows nothing of cells or files.
"""

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from reports.published import DATASET_NAMES
from reports.style import COLUMN_WIDTH, FAINT, INK, PAGE_WIDTH, PUBLISHED_MARKER, look, new_figure
from reports.tables import videos

_PANEL_HEIGHT = 2.7  # inches, without legend and note
_LINE_HEIGHT = 0.135  # inches, one line of legend or note
_LETTERS_PER_INCH = 17  # of the note's font
_DODGE = (
    0.14  # octaves between neighbouring curves, so that their error bars do not hide one another
)


def accuracy_panels(curve: pd.DataFrame, *, chance: Mapping[str, float], note: str) -> Figure:
    """The figure; call it inside `reports.style.paper_style`.

    Args:
        curve: Columns of `reports.frame.CURVE`, in percent.
        chance: Dataset to chance level in percent; datasets that are not in it get no line.
        note: What the error bars are, printed between panels and legend.
    """
    datasets = list(dict.fromkeys(curve["dataset"])) or [""]
    methods = list(dict.fromkeys(curve["method"]))
    num_columns = min(len(datasets), 2)
    num_rows = math.ceil(len(datasets) / num_columns)
    width = PAGE_WIDTH if num_columns == 2 else COLUMN_WIDTH + 0.8
    handles = _handles(curve, methods, any(dataset in chance for dataset in datasets), width)
    legend_columns = _legend_columns(handles, width)
    note = textwrap.fill(note, int(width * _LETTERS_PER_INCH))
    height = _legend_height(handles, legend_columns) + _LINE_HEIGHT * (note.count("\n") + 2)
    figure = new_figure(width, _PANEL_HEIGHT * num_rows + height)
    axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for panel, dataset in zip(axes, datasets, strict=False):
        _panel(panel, curve[curve["dataset"] == dataset], methods, chance.get(dataset))
        panel.set_title(DATASET_NAMES.get(dataset, dataset), loc="left", fontweight="bold")
    for place, panel in enumerate(axes):
        panel.set_visible(place < len(datasets))
        if place % num_columns == 0:
            panel.set_ylabel("video accuracy (%)")
    legend = figure.legend(
        handles,
        [str(handle.get_label()) for handle in handles],
        # The note is the legend's title because only one thing can stand "outside" below without overlap.
        title=note,
        title_fontsize=7,
        loc="outside lower center",
        ncols=legend_columns,
        columnspacing=1.4,
        handlelength=2.6,
    )
    legend.get_title().set(color=FAINT, multialignment="center")
    return figure


def _panel(panel: Axes, points: pd.DataFrame, methods: Sequence[str], chance: float | None) -> None:
    """One dataset: curves, published points and chance level."""
    step = _dodge(sorted(set(points["labels_per_class"])), len(methods))
    for place, method in enumerate(methods):
        mine = points[points["method"] == method]
        shift = 2 ** (step * (place - (len(methods) - 1) / 2))
        _curve(panel, mine.assign(x=mine["labels_per_class"] * shift), place)
    if chance is not None:
        panel.axhline(chance, color=FAINT, linewidth=0.8, linestyle=":", zorder=1)
    _axes(panel, points, stacks=_counts(panel, points, methods))
    if not (points["n"] > 0).any():
        panel.text(
            0.5,
            0.5,
            "no finished runs yet",
            ha="center",
            va="center",
            transform=panel.transAxes,
            fontsize=9,
            color=FAINT,
            backgroundcolor="white",
        )


def _dodge(labels: Sequence[float], num_methods: int) -> float:
    """Octaves between neighbouring curves: `_DODGE`, or less where ticks are close or methods many."""
    gaps = [math.log2(after / before) for before, after in itertools.pairwise(labels)]
    return min(_DODGE, 0.45 * min(gaps, default=1.0) / max(1, num_methods - 1))


def _curve(panel: Axes, mine: pd.DataFrame, place: int) -> None:
    """One method: line, error bars where there is a spread, markers filled only where complete."""
    style = look(place)
    # A point without a number breaks the line: joining its neighbours would claim something about it.
    panel.plot(mine["x"], mine["mean"], linestyle=style.line, color=style.colour, zorder=3)
    spread = mine[mine["sd"].notna()]
    if len(spread):
        panel.errorbar(
            spread["x"],
            spread["mean"],
            yerr=spread["sd"],
            fmt="none",
            elinewidth=0.9,
            capsize=2.5,
            ecolor=style.colour,
        )
    complete = mine["n"] == mine["expected"]
    for shown, face in ((complete, style.colour), (~complete, "white")):
        panel.plot(
            mine["x"][shown],
            mine["mean"][shown],
            style.marker,
            color=style.colour,
            markerfacecolor=face,
            zorder=4,
        )
    panel.plot(
        mine["x"],
        mine["published"],
        PUBLISHED_MARKER,
        markersize=7,
        markerfacecolor="none",
        color=style.colour,
        zorder=5,
    )


def _counts(panel: Axes, points: pd.DataFrame, methods: Sequence[str]) -> list[tuple[float, int]]:
    """Write "9/10" for each incomplete point; returns (percent at its foot, lines) of each stack.

    The counts of one x stand in a stack above everything drawn there, each in the colour of its method and in the
    order of the curves: beside the points they would lie on the neighbouring curves.
    """
    stacks = []
    for _, here in points.groupby("shots", sort=False):
        partial = here[(here["n"] > 0) & (here["n"] < here["expected"])].sort_values("mean")
        foot = max(
            (here["mean"] + here["sd"].fillna(0.0)).max(), here["published"].fillna(0.0).max()
        )
        for level, point in enumerate(partial.to_dict("records")):
            panel.annotate(
                f"{point['n']}/{point['expected']}",
                (point["labels_per_class"], foot),
                xytext=(0, 5 + 8 * level),
                textcoords="offset points",
                ha="center",
                fontsize=6.5,
                color=look(methods.index(point["method"])).colour,
            )
        if len(partial):
            stacks.append((foot, len(partial)))
    return stacks


def _axes(panel: Axes, points: pd.DataFrame, *, stacks: Sequence[tuple[float, int]]) -> None:
    """Log2 axis with a tick at every number of videos that occurs, and limits with some air."""
    panel.set_xlabel("labelled videos per class")
    if points.empty:
        panel.set_xticks([])
        panel.set_yticks([])
        return
    ticks = dict(
        sorted(
            (labels, videos(shots, labels))
            for shots, labels in zip(points["shots"], points["labels_per_class"], strict=True)
        )
    )
    *others, last = ticks
    if others and math.log2(last / others[-1]) < 0.7:
        ticks[last] = ticks[last].replace(
            " ", "\n"
        )  # "all (95)" in two lines beside a close neighbour
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_locator(FixedLocator(list(ticks)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xticklabels(list(ticks.values()))
    panel.set_xlim(min(ticks) / 2**0.4, max(ticks) * 2**0.4)
    if points[["mean", "published"]].notna().any(axis=None):
        low, high = panel.get_ylim()
        air = high - low
        # A line of a stack is about a twentieth of the panel high.
        tops = [foot + (0.04 + 0.05 * lines) * air for foot, lines in stacks]
        panel.set_ylim(max(low - 0.03 * air, -1.0), max([high + 0.04 * air, *tops]))
    else:
        panel.set_ylim(0, 100)


def _handles(
    curve: pd.DataFrame, methods: Sequence[str], with_chance: bool, width: float
) -> list[Artist]:
    """Legend entries: methods, then what hollow markers and the dotted line are."""
    handles: list[Artist] = []
    for place, method in enumerate(methods):
        style = look(place)
        handles.append(
            Line2D(
                [],
                [],
                color=style.colour,
                marker=style.marker,
                linestyle=style.line,
                label=textwrap.fill(method, int(width * _LETTERS_PER_INCH) - 8),
            )
        )
    if curve["published"].notna().any():
        handles.append(_hollow(PUBLISHED_MARKER, 6.5, "published"))
    if ((curve["n"] > 0) & (curve["n"] < curve["expected"])).any():
        handles.append(_hollow("o", 4.2, "incomplete (n of expected)"))
    if with_chance:
        handles.append(Line2D([], [], color=FAINT, linestyle=":", linewidth=0.8, label="chance"))
    return handles


def _hollow(marker: str, size: float, label: str) -> Line2D:
    """A legend entry for a hollow marker of any method, hence without a colour of its own."""
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=marker,
        markersize=size,
        markerfacecolor="none",
        color=INK,
        label=label,
    )


def _legend_columns(handles: Sequence[Artist], width: float) -> int:
    """As many columns as fit the width at the longest label, at least one."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=1)
    return max(1, min(len(handles), 3, int(width * _LETTERS_PER_INCH / (longest + 8))))


def _legend_height(handles: Sequence[Artist], num_columns: int) -> float:
    """Inches to reserve for the legend, so that long or many names do not eat the panels."""
    lines = max((str(handle.get_label()).count("\n") + 1 for handle in handles), default=0)
    return math.ceil(len(handles) / num_columns) * (lines * _LINE_HEIGHT + 0.05)
