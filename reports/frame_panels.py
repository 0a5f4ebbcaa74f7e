"""Loss against the predicted frame: one panel a dataset, one colour a model, dashed where the truth is shown on the way.

Takes the frame of `reports.prediction_losses.by_frame` and draws exactly its numbers.
"""

import textwrap
from collections.abc import Mapping

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from reports.published import DATASET_NAMES
from reports.style import COLUMN_WIDTH, FAINT, INK, PAGE_WIDTH, look, new_figure
from reports.tables import count

_LOSSES = {
    "nats/frame": "cross entropy (nats per frame)",
    "squared loss/frame": "squared loss per frame",
}
_FORCED = "teacher-forced"
_DODGE = 0.1  # frames between neighbouring models, so that equal curves do not hide one another
_LETTERS_PER_INCH = 16  # of the legend's font


def frame_panels(frames: pd.DataFrame, *, floors: Mapping[str, float]) -> Figure:
    """The figure; call it inside `reports.style.paper_style`.

    Args:
        frames: Columns of `reports.prediction_losses.BY_FRAME`.
        floors: Dataset to the mean loss per frame of a predictor that is right; datasets that are not in it get no line.
    """
    datasets = list(dict.fromkeys(frames["dataset"]))
    methods = list(dict.fromkeys(frames["method"]))
    width = PAGE_WIDTH if len(datasets) > 1 else COLUMN_WIDTH + 0.8
    handles = _handles(frames, methods, floors, width)
    figure = new_figure(width, 2.6 + 0.16 * _lines(handles, len(datasets)))
    panels = figure.subplots(1, len(datasets), squeeze=False).ravel()
    for panel, dataset in zip(panels, datasets, strict=True):
        mine = frames[frames["dataset"] == dataset]
        _panel(panel, mine, methods, floors.get(dataset))
        panel.set_title(DATASET_NAMES.get(dataset, dataset), loc="left", fontweight="bold")
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(datasets),
        columnspacing=1.6,
        handlelength=2.6,
    )
    return figure


def _panel(panel: Axes, points: pd.DataFrame, methods: list[str], floor: float | None) -> None:
    """One dataset: a curve for every model and decoding, bars of ±1 sd where several seeds have a result."""
    for (method, decoding), mine in points.groupby(["method", "decoding"], sort=False):
        style = look(methods.index(str(method)))
        forced = decoding == _FORCED
        place = mine["frame"] + _DODGE * (methods.index(str(method)) - (len(methods) - 1) / 2)
        panel.plot(
            place,
            mine["mean"],
            linestyle="--" if forced else "-",
            marker=style.marker,
            markerfacecolor="white" if forced else style.colour,
            color=style.colour,
            zorder=3,
        )
        if mine["sd"].notna().any():
            panel.errorbar(
                place,
                mine["mean"],
                yerr=mine["sd"],
                fmt="none",
                elinewidth=0.8,
                capsize=2,
                ecolor=style.colour,
            )
    if floor is not None and points["mean"].notna().any():
        _floor(panel, floor)
    panel.set_xlabel("predicted frame")
    panel.set_ylabel(_LOSSES[str(points["unit"].iloc[0])])
    last = int(points["frame"].max())
    panel.xaxis.set_major_locator(FixedLocator(list(range(1, last + 1))))
    panel.set_xlim(0.5, last + 0.5)
    if not points["mean"].notna().any():
        panel.set_yticks([])
        panel.text(
            0.5,
            0.5,
            "no finished runs yet",
            ha="center",
            va="center",
            transform=panel.transAxes,
            fontsize=9,
            color=FAINT,
        )


def _floor(panel: Axes, floor: float) -> None:
    """A line where no curve can be below; only its number where it lies so deep that it would flatten the curves."""
    low, high = panel.get_ylim()
    if floor > low - (high - low):
        panel.axhline(floor, color=FAINT, linewidth=0.9, linestyle=":", zorder=1)
        return
    panel.set_ylim(low - 0.14 * (high - low), high)
    panel.annotate(
        f"\N{DOWNWARDS ARROW} floor: {floor:.1f}",
        (0.985, 0.02),
        xycoords="axes fraction",
        ha="right",
        fontsize=7,
        color=FAINT,
    )


def _handles(
    frames: pd.DataFrame, methods: list[str], floors: Mapping[str, float], width: float
) -> list[Artist]:
    """Legend entries: models, with what they lack, then what dashes, bars and the dotted line are."""
    letters = int(width * _LETTERS_PER_INCH / max(1, frames["dataset"].nunique())) - 6
    handles: list[Artist] = []
    for place, method in enumerate(methods):
        style = look(place)
        mine = frames[frames["method"] == method].drop_duplicates("dataset")
        lacking = mine[mine["n"] < mine["expected"]]
        several = len(mine) > 1
        suffix = "; ".join(
            f"{count(line['n'], line['expected'])} seeds{' of ' + line['dataset'] if several else ''}"
            for line in lacking.to_dict("records")
        )
        label = f"{method} ({suffix})" if suffix else method
        handles.append(
            Line2D(
                [],
                [],
                color=style.colour,
                marker=style.marker,
                label=textwrap.fill(label, letters),
            )
        )
    if (frames["decoding"] == _FORCED).any():
        hollow = Line2D([], [], color=INK, linestyle="--", marker="o", label="teacher-forced")
        hollow.set_markerfacecolor("white")
        handles += [Line2D([], [], color=INK, marker="o", label="free-running"), hollow]
    if floors:
        handles.append(
            Line2D([], [], color=FAINT, linestyle=":", label="floor: the true frames' own entropy")
        )
    if frames["sd"].notna().any():
        seeds = frames["n"][frames["sd"].notna()]
        few, many = int(seeds.min()), int(seeds.max())
        label = f"error bars: ±1 sd over {many if few == many else f'{few} to {many}'} seeds"
        handles.append(Line2D([], [], color=INK, linestyle="none", marker="|", label=label))
    return handles


def _lines(handles: list[Artist], num_columns: int) -> int:
    """Lines of text that the legend takes."""
    each = [str(handle.get_label()).count("\n") + 1 for handle in handles]
    rows = -(-len(each) // num_columns)
    # Legends are filled column by column; the tallest column is at most so high.
    return max(sum(each[start : start + rows]) for start in range(0, len(each), rows))
