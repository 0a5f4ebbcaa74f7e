"""An animated GIF: panels of moving pictures beside each other, with a bar that says where in time they are.

Matplotlib draws what stands still, once for the input and once for the future; the frames are then pasted pixel by pixel, so
that they stay crisp and the bytes are the same for the same pictures. Shapes: Y and X pixels, C colours.
"""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from reports.film import Pixels, enlarged, zoom
from reports.style import FAINT, INK, look, new_figure, paper_style

DPI = 100
PANEL = 128
"""Pixels that a panel is wide, about."""
BETWEEN, MARGIN = 10, 12
"""Pixels between panels, and around all."""
TITLE, LINE, BAR = 26, 13, 6
"""Pixels of the line that names the phase, of a line of a heading, and the height of the bar of time."""
FRAME_MS, END_MS = 200, 1200
"""How long a frame stays, and how long the last one."""
LETTER = 5.7
"""Pixels of a letter of a heading, about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One picture that moves."""

    past_TYXC: Pixels | None
    """None for an empty panel while the input is shown."""
    future_FYXC: Pixels | None
    """None for an empty panel while the future is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Panels that show one sequence at once."""

    label: str
    """Written on the left, upright; empty for nothing."""
    panels: tuple[Panel, ...]
    """One for each heading."""


class _Place(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """Where things are, in pixels."""

    panel: int
    left: int
    top: int
    columns: int
    rows: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return (
            self.left + self.columns * (self.panel + BETWEEN) - BETWEEN + MARGIN,
            self.top + self.rows * (self.panel + BETWEEN) + BAR + MARGIN,
        )

    def place(self, row: int, column: int) -> _Place:
        """The upper left corner of a panel."""
        step = self.panel + BETWEEN
        return _Place(self.left + column * step, self.top + row * step)


def gif(headings: Sequence[str], rows: Sequence[Row], *, names: tuple[str, str]) -> bytes:
    """The file; it repeats forever.

    Args:
        headings: above the columns of panels.
        rows: sequences, of frames of one size and equally long.
        names: what the two phases are called.
    """
    panels = [panel for row in rows for panel in row.panels]
    pasts = [panel.past_TYXC for panel in panels if panel.past_TYXC is not None]
    futures = [panel.future_FYXC for panel in panels if panel.future_FYXC is not None]
    side, counts = pasts[0].shape[1], (len(pasts[0]), len(futures[0]))
    times = zoom(side, PANEL)
    wrapped = [textwrap.wrap(each, int((side * times + BETWEEN) / LETTER)) for each in headings]
    layout = _Layout(
        panel=side * times,
        left=MARGIN + (18 if any(row.label for row in rows) else 0),
        top=MARGIN + TITLE + LINE * max(map(len, wrapped)) + 4,
        columns=len(headings),
        rows=len(rows),
    )
    shown: list[Pixels] = []
    for phase in (0, 1):
        still_YX3 = _still(layout, wrapped, rows, names[phase], look(phase).colour)
        for frame in range(counts[phase]):
            image_YX3 = still_YX3.copy()
            for row, line in enumerate(rows):
                for column, panel in enumerate(line.panels):
                    moving = (panel.past_TYXC, panel.future_FYXC)[phase]
                    if moving is not None:
                        x, y = layout.place(row, column)
                        here = (slice(y, y + layout.panel), slice(x, x + layout.panel))
                        image_YX3[here] = enlarged(moving[frame], times)
            _paint_bar(image_YX3, layout, counts, done=phase * counts[0] + frame + 1)
            shown.append(image_YX3)
    return _encoded(shown)


def _still(
    layout: _Layout, headings: Sequence[Sequence[str]], rows: Sequence[Row], name: str, colour: str
) -> Pixels:
    """What does not move: headings, labels, the phase's name and a frame in its colour around every panel."""
    width, height = layout.size
    with paper_style():
        figure = new_figure(width / DPI, height / DPI)
        figure.set_layout_engine("none")

        def write(
            x: float, y: float, text: str, size: float, ink: str, *, va: str, turn: float = 0
        ) -> None:
            figure.text(
                x / width, 1 - y / height, text, fontsize=size, color=ink, va=va, rotation=turn, linespacing=1.15,
                ha="center" if turn else "left", fontweight="bold" if va == "top" else "normal",
            )  # fmt: skip

        write(layout.left, MARGIN, name, 9.5, colour, va="top")
        for column, lines in enumerate(headings):
            write(
                layout.place(0, column).x, layout.top - 4, "\n".join(lines), 6.8, INK, va="bottom"
            )
        for row, line in enumerate(rows):
            middle = layout.place(row, 0).y + layout.panel / 2
            write(MARGIN + 6, middle, line.label, 7, FAINT, va="center", turn=90)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="rgba", dpi=DPI)
    drawn_YX4 = np.frombuffer(drawn.getvalue(), dtype=np.uint8).reshape(height, width, 4)
    still_YX3 = np.ascontiguousarray(drawn_YX4[..., :3])
    for row in range(layout.rows):
        for column in range(layout.columns):
            x, y = layout.place(row, column)
            still_YX3[y - 3 : y + layout.panel + 3, x - 3 : x + layout.panel + 3] = _rgb(colour)
            still_YX3[y : y + layout.panel, x : x + layout.panel] = _rgb("#d9d9d9")
    return still_YX3


def _paint_bar(image_YX3: Pixels, layout: _Layout, counts: tuple[int, int], *, done: int) -> None:
    """The bar of time at the bottom: a piece a frame, those that are over in the colour of their phase."""
    width, height = layout.size
    top, room = height - MARGIN // 2 - BAR, width - MARGIN - layout.left
    ends = np.linspace(0, room, sum(counts) + 1).round().astype(int) + layout.left
    for frame, (begin, end) in enumerate(pairwise(ends.tolist())):
        colour = look(int(frame >= counts[0])).colour if frame < done else "#dddddd"
        image_YX3[top : top + BAR, begin : end - 2] = _rgb(colour)


def _rgb(colour: str) -> Pixels:
    return np.round(255 * np.array(to_rgb(colour))).astype(np.uint8)


def _encoded(images_YX3: Sequence[Pixels]) -> bytes:
    """The frames as a GIF, all in one set of 256 colours that is found in all of them, without dots for those in between."""
    height, white = len(images_YX3[0]), (0, 0)
    found = Image.fromarray(np.concatenate(images_YX3)).quantize(
        256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    places_YX = np.asarray(found)
    colours_P3 = np.array(found.getpalette(), dtype=np.uint8).reshape(-1, 3)
    # A colour stands for its neighbours too and is their mean: the page and the darkest pixels are to be white and black.
    colours_P3[colours_P3.sum(axis=1, dtype=int).argmin()] = 0
    colours_P3[places_YX[white]] = 255
    frames = [
        Image.fromarray(places_YX[top : top + height]) for top in range(0, len(places_YX), height)
    ]
    for each in frames:
        each.putpalette(colours_P3.tobytes())
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[FRAME_MS] * (len(frames) - 1) + [END_MS],
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()
