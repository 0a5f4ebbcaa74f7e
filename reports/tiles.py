"""Many small pictures of weights in panels: every weight is a whole number of dots, so that nothing is blurred or lost.

Shapes: K tiles of Y rows and X columns of weights.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from reports.style import FAINT, PAGE_WIDTH, PNG_DPI, new_figure

COLUMNS = 20
"""Tiles in a row of a panel, at most: 200 features are ten rows."""
ACROSS = 2
"""Panels beside each other."""

ZERO = 128
"""The grey of a weight of 0."""
PAPER = 255
"""The white between tiles."""

_PAGE = round(PAGE_WIDTH * PNG_DPI)  # dots
_TILE = 64  # dots of a tile where weights get more than one: few features need not fill a page
_BETWEEN = 40  # dots between panels
_TITLE = 52  # dots above a panel, with its title
_NOTE_LINE = 25  # dots
_TITLE_SIZE, _NOTE_SIZE = 9.0, 7.0  # points
_LETTERS = 130  # of a note's line
_STEP = 25  # dots: an eighth of an inch, exact as a float, so that a canvas is never cut by a dot


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Tiles under one title."""

    title: str
    tiles_KYX: np.ndarray


def mosaic(tiles_KYX: np.ndarray, columns: int = COLUMNS) -> np.ndarray:
    """Tiles row by row as one picture, uint8 (rows, columns).

    Each tile is scaled by its own largest weight: 0 is `ZERO`, positive weights are lighter up to 255, negative ones darker
    down to 1. Tiles are `_gap` pixels of `PAPER` apart.

    Args:
        tiles_KYX: finite weights.
        columns: tiles in a row.
    """
    count, height, width = tiles_KYX.shape
    largest_K11 = np.abs(tiles_KYX).max(axis=(1, 2), keepdims=True)
    # A tile of zeros alone is grey: it is divided by 1.
    scaled_KYX = tiles_KYX / np.where(largest_K11 > 0, largest_K11, 1.0)
    grey_KYX = np.rint(ZERO + 127 * scaled_KYX).astype(np.uint8)
    gap = _gap(width)
    rows = math.ceil(count / columns)
    picture = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap), PAPER, dtype=np.uint8
    )
    for place, tile_YX in enumerate(grey_KYX):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        picture[top : top + height, left : left + width] = tile_YX
    return picture


def tiles_figure(panels: Sequence[Panel], note: str) -> Figure:
    """Panels of tiles, two beside each other; call it inside `reports.style.paper_style`.

    As wide as a page where its dots are enough for one a weight, wider with larger letters where they are not: shown at the
    width of a page the letters are the same. pdf and svg hold the weights themselves.

    Args:
        panels: at least one, all of the same number and size of tiles.
        note: printed below.
    """
    columns = min(COLUMNS, len(panels[0].tiles_KYX))
    pictures = [mosaic(panel.tiles_KYX, columns) for panel in panels]
    rows, across = -(-len(panels) // ACROSS), min(ACROSS, len(panels))
    height, width = pictures[0].shape
    dots = _dots_a_weight(width, panels[0].tiles_KYX.shape[2])
    page = _whole(max(_PAGE, across * width * dots + (across - 1) * _BETWEEN))
    letters = page / _PAGE
    title, line = round(_TITLE * letters), round(_NOTE_LINE * letters)
    text = textwrap.fill(note, _LETTERS)
    below = line * (text.count("\n") + 1) + line
    tall = _whole(rows * (title + height * dots) + (rows - 1) * _BETWEEN // 2 + below)
    figure = new_figure(page / PNG_DPI, tall / PNG_DPI)
    figure.set_layout_engine("none")  # places are counted in dots here
    column_step = (page + _BETWEEN) // ACROSS
    for place, (panel, picture) in enumerate(zip(panels, pictures, strict=True)):
        left = place % ACROSS * column_step
        top = place // ACROSS * (title + height * dots + _BETWEEN // 2)
        bottom = tall - top - title - height * dots
        axes = figure.add_axes(
            (left / page, bottom / tall, width * dots / page, height * dots / tall)
        )
        # "none" puts the picture itself into pdf and svg; in a png it is the nearest weight.
        # Three equal channels, because a colour map would round some greys to their neighbours.
        axes.imshow(np.dstack([picture] * 3), interpolation="none", aspect="auto")
        axes.set_axis_off()
        figure.text(
            left / page,
            (bottom + height * dots + title * 0.25) / tall,
            panel.title,
            fontsize=_TITLE_SIZE * letters,
            fontweight="bold",
            ha="left",
            va="bottom",
        )
    figure.text(
        0.0, line * 0.3 / tall, text, fontsize=_NOTE_SIZE * letters, color=FAINT, va="bottom"
    )
    return figure


def _gap(width: int) -> int:
    """Pixels between tiles of this width."""
    return max(1, width // 16)


def _dots_a_weight(width: int, tile: int) -> int:
    """Dots of a png that a weight is wide, at least one, where panels are `width` weights wide and tiles `tile`."""
    fitting = (_PAGE - _BETWEEN) // ACROSS // width
    return max(1, min(fitting, _TILE // tile))


def _whole(dots: int) -> int:
    """At least so many dots, a whole number of `_STEP`."""
    return math.ceil(dots / _STEP) * _STEP
