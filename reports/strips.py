"""A figure of film strips: a row of frames a sequence, what was read on the left, what came next on the right.

Everything is placed in whole pixels of a png file, and a pixel of a frame is a whole number of them, so that pictures of 32 or
64 pixels are neither blurred nor uneven. Shapes: T frames, Y and X pixels, C colours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from reports.film import Pixels, enlarged, zoom
from reports.style import FAINT, INK, PNG_DPI, new_figure

FRAME = 64
"""Pixels of a png file that a frame is wide, about."""
BETWEEN, HALVES, MARGIN = 2, 14, 4
"""Pixels between two frames, between past and future, and around the figure."""
HEADING, HALF_NAMES, GROUPS, TIMES = 32, 28, 14, 26
"""Pixels of a heading, of the line that names the halves, between groups, and of the frames' numbers."""
HEADING_LETTER, TOLD_LETTER = 13.0, 10.4
"""Pixels that a letter of a heading takes, and of what is told beside it, about."""
LABEL = 24
"""Pixels on the left of strips that have a label."""
SHARPER = 2
"""Pixels of pdf and svg files for one of a png file: viewers smooth what they enlarge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """One sequence: a row of frames."""

    label: str
    """Written on its left, upright; empty for nothing."""
    past_TYXC: Pixels | None
    """On the left; None for nothing."""
    future_TYXC: Pixels | None
    """On the right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Strips under one heading."""

    heading: str
    told: str
    """At the right end of the heading's line, such as losses."""
    halves: tuple[str, str] | None
    """What is seen on the left and on the right; None where it is as in the group above."""
    strips: tuple[Strip, ...]
    """None at all for a model that has no result."""

    @property
    def above(self) -> int:
        """Pixels above its strips."""
        return HEADING + (HALF_NAMES if self.halves else 0)


def strips_figure(
    groups: Sequence[Group], *, side: int, times: tuple[Sequence[int], Sequence[int]]
) -> Figure:
    """The figure; call it inside `paper_style`.

    Args:
        groups: from top to bottom.
        side: rows and columns of a frame.
        times: numbers of the frames on the left and on the right, written under the last strip.
    """
    frame = side * zoom(side, FRAME)
    step, past, future = frame + BETWEEN, *map(len, times)
    left = MARGIN + (LABEL if any(strip.label for group in groups for strip in group.strips) else 0)
    middle = left + past * step - BETWEEN + HALVES
    right = middle + future * step - BETWEEN
    rows = sum(group.above + len(group.strips) * step for group in groups)
    width, height = right + MARGIN, rows + GROUPS * (len(groups) - 1) + TIMES
    figure = new_figure(width / PNG_DPI, height / PNG_DPI)
    figure.set_layout_engine("none")  # everything has its place

    def write(
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        colour: str = FAINT,
        weight: str = "normal",
        across: str = "center",
        turn: float = 0,
    ) -> None:
        figure.text(
            x / width, 1 - y / height, text, fontsize=size, color=colour, fontweight=weight, rotation=turn,
            ha=across, va="center_baseline" if turn == 0 else "center",
        )  # fmt: skip

    def picture(x: int, y: int, frames_TYXC: Pixels | None) -> None:
        if frames_TYXC is None:
            return
        row = _row(frames_TYXC, step)
        axes = figure.add_axes(
            (x / width, 1 - (y + frame) / height, row.shape[1] / SHARPER / width, frame / height)
        )
        axes.imshow(row, interpolation="none", aspect="auto")
        axes.set_axis_off()

    y = 0
    for place, group in enumerate(groups):
        y += GROUPS if place else 0
        on_line = y + HEADING / 2
        # Narrow frames leave little room beside a long name.
        wide = HEADING_LETTER * len(group.heading) + TOLD_LETTER * (len(group.told) + 2)
        fit = min(1.0, (right - left) / wide)
        write(left, on_line, group.heading, 8 * fit, colour=INK, weight="bold", across="left")
        write(right, on_line, group.told, 7 * fit, across="right")
        if group.halves:
            on_line = y + HEADING + HALF_NAMES / 2 - 4
            ends = ((left, middle - HALVES), (middle, right))
            for (begin, end), text in zip(ends, group.halves, strict=True):
                _named_span(figure, (begin / width, end / width), 1 - on_line / height, text)
        y += group.above
        for strip in group.strips:
            write(MARGIN + LABEL * 0.4, y + frame / 2, strip.label, 6.5, turn=90)
            picture(left, y, strip.past_TYXC)
            picture(middle, y, strip.future_TYXC)
            y += step
    for begin, numbers in ((left, times[0]), (middle, times[1])):
        for place, number in enumerate(numbers):
            centre = begin + place * step + frame / 2
            write(centre, y + TIMES / 2 - 2, str(number), 6)
    return figure


def _named_span(figure: Figure, ends: tuple[float, float], y: float, text: str) -> None:
    """An arrow to both ends with a name in its middle, in parts of the figure."""
    figure.add_artist(
        FancyArrowPatch(
            (ends[0], y), (ends[1], y), transform=figure.transFigure, arrowstyle="<->", shrinkA=0, shrinkB=0,
            mutation_scale=5, linewidth=0.6, color=FAINT,
        )
    )  # fmt: skip
    figure.text(
        sum(ends) / 2, y, f" {text} ", fontsize=7, color=FAINT, ha="center", va="center_baseline",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0},
    )  # fmt: skip


def _row(frames_TYXC: Pixels, step: int) -> Pixels:
    """Frames beside each other on white, `step` pixels of a png file from one to the next, `SHARPER` times as fine."""
    frame = SHARPER * (step - BETWEEN)
    row = np.full((frame, SHARPER * (len(frames_TYXC) * step - BETWEEN), 3), 255, dtype=np.uint8)
    for place, frame_YXC in enumerate(frames_TYXC):
        begin = place * SHARPER * step
        row[:, begin : begin + frame] = enlarged(frame_YXC, frame // len(frame_YXC))
    return row
