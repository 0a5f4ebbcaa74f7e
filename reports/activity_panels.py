"""The picture of Fig. 7: six panels for every Future Predictor, curves over steps, and strips of frames.

Takes arrays and draws exactly these. Shapes: F steps, U units, Y and X of a frame.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray

from reports.style import FAINT, INK, PAGE_WIDTH, look, new_figure

PANELS = (
    ("input", "input", "diverging"),
    ("input_gate", "input gate", "gate"),
    ("forget_gate", "forget gate", "gate"),
    ("output_gate", "output gate", "gate"),
    ("cell", "cell", "diverging"),
    ("output", "output", "diverging"),
)
"""Array, heading and kind of colour scale, in the paper's order."""
COLOURS = {"gate": "viridis", "diverging": "RdBu_r"}
CLIPPED = 99.0
"""The colours of cells, which have no bound, reach to this percentile of their absolute values."""
EARLY = (1, 5, 10, 15, 20)
"""Steps that strips always show: the paper sees blobs from about 15 on."""
STILL = 1e-8
"""Changes below this leave the axis: what dies out goes down by orders of magnitude a step, and would squeeze all else."""
LATER = 8
"""Further steps of a strip, evenly spaced."""

# In inches. Everything is placed by hand: matplotlib's solver of layouts leaves the last digits of so many axes to chance,
# and a figure is to be the same bytes every time.
_HEADING, _NAMES, _ROW, _BELOW = (
    0.22,
    0.2,
    1.4,
    0.12,
)  # a predictor: heading, names of the panels, panels, room
_LEFT, _RIGHT, _BETWEEN = 0.62, 0.14, 0.22
_TICKS, _AXIS = 0.2, 0.42  # room for tick labels, and with the axis' name
_BAR, _CURVE, _LEGEND, _ROOM = 0.1, 1.15, 0.24, 0.12
_GAP = 1  # pixels of a frame between two frames of a strip
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What one predictor did."""

    label: str
    weights: str
    """"trained" or "random"."""
    trained_steps: int
    """Frames that the model was trained to predict."""
    arrays: Mapping[str, NDArray[np.generic]]
    """Of the sequence shown: (F, U) by the names in `PANELS`; uint8 input_frames, true_frames, predicted_frames (F, Y, X)."""
    steps: pd.DataFrame
    """By step from 1: change and loss, mean over sequences, each with its sd; no change at step 1."""

    @property
    def num_steps(self) -> int:
        """F."""
        return len(self.arrays["true_frames"])


def activity_figure(predictors: Sequence[tuple[str, Watched | None]]) -> Figure:
    """The figure; call it inside `reports.style.paper_style`.

    Args:
        predictors: label of each and what is known of it; at least one of them is there.
    """
    there = [each for _, each in predictors if each is not None]
    shown = strip_steps(there[0].num_steps)
    strip = _strip(there, shown)
    strip_width = PAGE_WIDTH - _LEFT - _RIGHT
    strip_height = strip_width * strip.shape[0] / strip.shape[1]
    row = _HEADING + _NAMES + _ROW + _BELOW
    patterns = len(predictors) * row - _BELOW + _AXIS + _BAR + _TICKS + _ROOM
    curves = _HEADING + _CURVE + _AXIS + _LEGEND + _ROOM
    strips = _HEADING + _NAMES + strip_height + _AXIS
    figure = new_figure(PAGE_WIDTH, patterns + curves + strips)
    figure.set_layout_engine("none")
    _patterns(figure, predictors, row)
    _curves(figure, patterns, there, len(predictors))
    top = patterns + curves
    _heading(figure, top, len(predictors) + 1, "Frames of the sequence shown")
    panel = _place(figure, _LEFT, top + _HEADING + _NAMES, strip_width, strip_height)
    _strips(panel, strip, there, shown)
    return figure


def _place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes by inches from the upper left corner of the page."""
    across, down = figure.get_size_inches()
    return figure.add_axes(
        (left / across, 1 - (top + height) / down, width / across, height / down)
    )


def _heading(figure: Figure, top: float, place: int, text: str) -> None:
    across, down = figure.get_size_inches()
    told = figure.text(0.06 / across, 1 - (top + 0.04) / down, f"({chr(ord('a') + place)}) {text}")
    told.set(va="top", fontsize=9, fontweight="bold")


def strip_steps(num_steps: int) -> list[int]:
    """Steps whose frames are shown, from 1: `EARLY`, then `LATER` evenly spaced ones up to the last."""
    start = min(EARLY[-1] + 10, num_steps)
    later = np.linspace(start, num_steps, LATER).round().astype(int).tolist()
    return sorted({step for step in (*EARLY, *later) if step <= num_steps})


def _cell_limits(there: Sequence[Watched]) -> tuple[float, float]:
    """Symmetric, the same for all predictors."""
    absolute = np.concatenate([np.abs(each.arrays["cell"].astype(float)).ravel() for each in there])
    most = float(np.percentile(absolute, CLIPPED)) or 1.0
    return -most, most


def _patterns(figure: Figure, predictors: Sequence[tuple[str, Watched | None]], row: float) -> None:
    """Six panels for each predictor, each `row` inches high, and below each column its colours."""
    there = [each for _, each in predictors if each is not None]
    limits = {"gate": (0.0, 1.0), "diverging": (-1.0, 1.0), "cell": _cell_limits(there)}
    left, number = 0.36, len(PANELS)
    width = (PAGE_WIDTH - left - _RIGHT - (number - 1) * _BETWEEN) / number
    lefts = [left + column * (width + _BETWEEN) for column in range(number)]
    images: list[AxesImage] = []
    for place, (label, watched) in enumerate(predictors):
        _heading(figure, place * row, place, label)
        top = place * row + _HEADING + _NAMES
        panels = [_place(figure, left, top, width, _ROW) for left in lefts]
        drawn = _panels(panels, watched, limits, last=place == len(predictors) - 1)
        images = images or drawn
    top = len(predictors) * row - _BELOW + _AXIS
    for left, image in zip(lefts, images, strict=True):
        _colour_bar(figure, _place(figure, left, top, width, _BAR), image)


def _panels(
    panels: Sequence[Axes],
    watched: Watched | None,
    limits: Mapping[str, tuple[float, float]],
    *,
    last: bool,
) -> list[AxesImage]:
    """One predictor's six panels; units downwards, steps to the right."""
    images = []
    for panel, (name, heading, kind) in zip(panels, PANELS, strict=True):
        panel.set_title(heading, fontsize=8)
        panel.grid(False)
        panel.set_yticks([])
        panel.set_xticks([])
        if watched is None:
            told = panel.text(0.5, 0.5, "no finished\nrun yet", transform=panel.transAxes)
            told.set(ha="center", va="center", color=FAINT)
            continue
        values_UF = watched.arrays[name].astype(float).T
        num_units, num_steps = values_UF.shape
        low, high = limits.get(name, limits[kind])
        image = panel.imshow(
            values_UF,
            cmap=COLOURS[kind],
            vmin=low,
            vmax=high,
            aspect="auto",
            interpolation="nearest",
            extent=(0.5, num_steps + 0.5, num_units, 0),
        )
        images.append(image)
        _mark_training(panel, watched)
        panel.set_xticks([1, num_steps // 2, num_steps])
        if last:
            panel.set_xlabel("step")
        else:
            panel.tick_params(labelbottom=False)
    if watched is not None:
        panels[0].set_ylabel(f"{watched.arrays['cell'].shape[1]} units")
    return images


def _colour_bar(figure: Figure, slot: Axes, image: AxesImage) -> None:
    low, high = image.get_clim()
    bar = figure.colorbar(image, cax=slot, orientation="horizontal")
    ticks = (low, (low + high) / 2, high)
    texts = [f"{each:.2g}".replace("-", "\N{MINUS SIGN}") for each in ticks]
    bar.set_ticks(ticks, labels=texts)
    slot.tick_params(length=2)


def _curves(figure: Figure, top: float, there: Sequence[Watched], place: int) -> None:
    """How fast the output changes, and the loss, at every step."""
    title = "Step-to-step change of the output, and loss; means over test sequences"
    _heading(figure, top, place, title)
    width = (PAGE_WIDTH - 2 * _LEFT - _RIGHT) / 2
    left, right = (
        _place(figure, each, top + _HEADING + 0.05, width, _CURVE - 0.05)
        for each in (_LEFT, 2 * _LEFT + width)
    )
    for number, each in enumerate(there):
        style = look(number)
        steps, change = each.steps.index.to_numpy(), each.steps["change"].to_numpy()
        drawn = np.where(change > 0, change, math.nan)  # a change of 0 has no place on this axis
        left.plot(steps, drawn, style.line, color=style.colour)
        right.plot(steps, each.steps["loss"], style.line, color=style.colour)
    left.set_yscale("log")
    left.set_ylim(bottom=max(left.get_ylim()[0], STILL))
    left.yaxis.set_major_formatter(FuncFormatter(_power_of_ten))
    left.yaxis.set_minor_locator(NullLocator())
    left.set_ylabel("|h(t) \N{MINUS SIGN} h(t\N{MINUS SIGN}1)|")
    right.set_ylabel("nats per frame")
    right.set_ylim(bottom=0)
    for panel in (left, right):
        panel.set_xlabel("step")
        _mark_training(panel, there[0])
        panel.set_xlim(0, there[0].num_steps + 1)
    handles = [
        Line2D([], [], color=look(number).colour, linestyle=look(number).line, label=each.label)
        for number, each in enumerate(there)
    ]
    handles.append(
        Line2D([], [], color=INK, linestyle=":", linewidth=0.8, label="trained up to here")
    )
    below = 1 - (top + _HEADING + _CURVE + _AXIS) / figure.get_size_inches()[1]
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, below), ncols=3)


def _mark_training(panel: Axes, watched: Watched) -> None:
    panel.axvline(watched.trained_steps + 0.5, color=INK, linewidth=0.8, linestyle=":")


def _power_of_ten(value: float, _: object) -> str:
    """A tick of a logarithmic axis without mathematical text, which the style does not parse."""
    return f"10{str(round(math.log10(value))).translate(_SUPERSCRIPTS)}"


def _strip(there: Sequence[Watched], shown: Sequence[int]) -> NDArray[np.generic]:
    """The last frame read and the true ones at some steps; below these those of every predictor. White is between them."""
    first = there[0].arrays
    last_read = first["input_frames"][-1]
    nothing = np.full_like(last_read, 255)  # a prediction has no frame of the input beside it
    rows = [
        [last_read, *(first["true_frames"][step - 1] for step in shown)],
        *(
            [nothing, *(each.arrays["predicted_frames"][step - 1] for step in shown)]
            for each in there
        ),
    ]
    framed = [
        np.concatenate([np.pad(each, (0, _GAP), constant_values=255) for each in row], axis=1)
        for row in rows
    ]
    return np.concatenate(framed)[:-_GAP, :-_GAP]


def _strips(
    panel: Axes, strip: NDArray[np.generic], there: Sequence[Watched], shown: Sequence[int]
) -> None:
    """Name the rows and columns of a strip."""
    height, width = there[0].arrays["true_frames"].shape[1:]
    panel.imshow(strip, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    panel.set_frame_on(False)
    panel.grid(False)
    panel.tick_params(length=0)
    names = ["true", *(each.weights for each in there)]
    panel.set_yticks([_middle(number, height) for number in range(len(names))], names, fontsize=8)
    panel.set_xticks(
        [_middle(number + 1, width) for number in range(len(shown))], list(map(str, shown))
    )
    panel.set_xlabel("step")
    told = panel.text(_middle(0, width), -1.5, "last input")
    told.set(ha="center", va="bottom", fontsize=7, color=INK)


def _middle(number: int, size: int) -> float:
    """Where in pixels the middle of a frame is, by its place from 0."""
    return number * (size + _GAP) + (size - 1) / 2
