"""How a figure looks, and how it becomes bytes that are the same for the same input.

The style is in force only inside `paper_style`, never on import, and starts from matplotlib's own defaults so that no
matplotlibrc of the machine shows. Figures are made without pyplot: nothing global is left behind.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

COLUMN_WIDTH = 3.4
"""Width of one column of a two-column paper, in inches."""
PAGE_WIDTH = 7.0
"""Width of the text block of a two-column paper, in inches."""
PNG_DPI = 200
"""Pixels per inch of png files."""

LineName = Literal["-", "--", "-.", ":"]

INK = "#222222"
FAINT = "#777777"

_STYLE: dict[RcKeyType, object] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so widths are the same everywhere
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.2,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "text.parse_math": False,  # a method name may hold dollar signs
    "text.usetex": False,
    "svg.fonttype": "path",  # readable without the font
    "svg.hashsalt": "reports",  # element ids follow from the content, not from chance
    "pdf.fonttype": 42,  # TrueType: conference systems refuse Type 3
}

# Okabe & Ito's palette without its yellow, which vanishes on white: told apart with any common colour blindness.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# Eight markers against seven colours: the pairs repeat only after 56 methods.
_MARKERS = ("o", "s", "^", "v", "P", "X", "<", ">")
PUBLISHED_MARKER = "D"  # a method never has it
_LINES: tuple[LineName, ...] = ("-", "--", "-.", ":")


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Colour, marker and line of one method; each of the three alone tells the first methods apart in print."""

    colour: str
    marker: str
    line: LineName


def look(place: int) -> Look:
    """The look of the method at this place in the order of methods."""
    return Look(
        colour=_COLOURS[place % len(_COLOURS)],
        marker=_MARKERS[place % len(_MARKERS)],
        line=_LINES[(place // len(_COLOURS)) % len(_LINES)],
    )


@contextmanager
def paper_style() -> Iterator[None]:
    """Matplotlib's defaults with ours on top; what was set before returns on leaving."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches on an Agg canvas; call it inside `paper_style`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def render(figure: Figure, format: str) -> bytes:
    """The figure as a file, byte for byte the same for the same figure and version of matplotlib.

    Args:
        figure: A figure from `new_figure`.
        format: "png" (at `PNG_DPI`), "pdf" or "svg".
    """
    # Dates and program versions are left out: they would change the bytes without changing the picture.
    metadata: dict[str, dict[str, None]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    }
    if format not in metadata:
        raise ValueError(f"a figure is written as {', '.join(metadata)}, not as {format!r}")
    buffer = io.BytesIO()
    with paper_style():
        figure.savefig(buffer, format=format, dpi=PNG_DPI, metadata=metadata[format])
    return buffer.getvalue()
