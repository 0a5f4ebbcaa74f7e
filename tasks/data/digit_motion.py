"""How the digits move and what they look like: from draws in [0, 1) to pixels.

Ten classes that differ in motion only: every video draws the same kind of still picture (digit, place, tilt, size,
brightness), and its class decides whether the place or the size moves, and how. The motions are wide, so that they
make up much of a model's loss: what changes few pixels (a turn or a flicker in place) a small LSTM does not learn
within minutes. Pixels come from elementwise + - * / and rounding in float64, which IEEE 754 fixes to the last bit on
any machine; so does the sine, a polynomial here, since that of a maths library may differ from one processor to the
next.

Shapes: B videos, T steps of time, F frames of any videos in a row, Y and X rows and columns of pixels,
S rows and columns of a source image, D draws. The origin is the top left corner, and y points down.
"""

import functools
import hashlib
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FRAME_SIDE = 20
"""Pixels along one side of a frame."""

CLASSES: tuple[str, ...] = (
    "Bob",  # up and down, a wide sine
    "Bounce",  # straight on at constant speed, aslant, off the walls of a box
    "CircleLeft",  # round a circle, counter-clockwise as seen on the screen
    "CircleRight",  # the same, clockwise
    "FigureEight",  # along an 8, upright or lying
    "Grow",  # from small to large in place, then at once small again
    "Jump",  # stands, then is at once at the opposite point of a circle, and back
    "Shrink",  # Grow played backwards
    "Swing",  # from side to side, a wide sine
    "ZigZag",  # drifts along one axis, off the walls, with a small triangle wave across it
)

PERIOD = {
    "Bob": (10.0, 18.0),
    "Bounce": (1.0, 1.0),  # has a speed instead
    "CircleLeft": (10.0, 18.0),
    "CircleRight": (10.0, 18.0),
    "FigureEight": (14.0, 20.0),
    "Grow": (14.0, 22.0),
    "Jump": (6.0, 12.0),  # there and back
    "Shrink": (14.0, 22.0),
    "Swing": (10.0, 18.0),
    "ZigZag": (6.0, 9.0),
}
"""Frames in one cycle, from and to."""

BOX = (4.5, FRAME_SIDE - 1 - 4.5)
"""Where the centre of a digit may be, in pixels, on either axis."""
RADIUS = (3.0, 4.5)
"""Of a circle, in pixels, and half the width of a Bob, a Swing or an 8. Every digit starts on one,
so the places agree."""
TILT = (-0.05, 0.05)
"""Of a digit all video long, in turns."""
SIZE = (0.5, 1.5)
"""Frame pixels to one source pixel: digits of 4 to 12 pixels."""
BRIGHTNESS = (0.6, 1.0)
"""Grey of full ink all video long, of 1."""
BOUNCE_SPEED = (0.9, 1.5)
"""Pixels a frame."""
BOUNCE_SLANT = (25 / 360, 65 / 360)
"""Angle of a Bounce from an axis, in turns (25 to 65 degrees): along one it would look like a Swing or a Bob."""
DRIFT_SPEED = (0.6, 1.0)
"""Of a ZigZag along its axis, in pixels a frame."""
ZIGZAG = 0.5
"""Height of its triangle wave, as a part of the radius drawn."""

DRAWS = (
    "label",
    "source",
    "length",
    "centre_x",
    "centre_y",
    "radius",
    "around",
    "tilt",
    "size",
    "brightness",
    "period",
    "speed",
    "heading",
    "wave",
    "spare_1",
    "spare_2",
)
"""The uniforms of one video, in the order of its hash; labelled videos ignore the first two."""

_SOURCE_SIDE = 8
_FRAMES_AT_ONCE = 64  # the arrays of one round of rendering stay in a core's cache

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Frames = NDArray[np.uint8]


@functools.cache
def source_digits() -> tuple[Floats, Ints]:
    """The images of load_digits, (1797, 8, 8) from 0 to 16, and the digits they show, (1797,)."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]  # slow to import

    digits = load_digits()
    return digits.images.astype(np.float64), digits.target.astype(np.int64)


def uniforms(keys: Iterable[str]) -> dict[str, Floats]:
    """For every name in DRAWS, a uniform in [0, 1) for each key, (B,): 53 bits of its hash."""
    half = len(DRAWS) // 2  # a digest of BLAKE2b has 64 bytes, which is eight numbers
    digests = b"".join(
        hashlib.blake2b(f"{key}/{part}".encode(), digest_size=8 * half).digest()
        for key in keys
        for part in range(2)
    )
    bits_BD = np.frombuffer(digests, dtype="<u8").reshape(-1, len(DRAWS))
    uniforms_BD = (bits_BD >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return dict(zip(DRAWS, uniforms_BD.T, strict=True))


class Paths(NamedTuple):
    """How digits move: five arrays of one shape, (B, T) or flattened to (F,)."""

    x: Floats
    """Centre of the digit, in pixels from that of the top left one."""
    y: Floats
    angle: Floats
    """In turns, clockwise as seen on the screen."""
    size: Floats
    """Frame pixels to one source pixel."""
    brightness: Floats
    """Grey of full ink, of 1."""


def paths_of(label_B: Ints, draws: dict[str, Floats], num_frames: int) -> Paths:
    """Each video's five properties over time (B, T): a still picture of which its class moves a part."""

    def between(name: str, span: tuple[float, float]) -> Floats:
        low, high = span
        return low + (high - low) * draws[name][:, None]

    def shows(*names: str) -> NDArray[np.bool_]:
        """Whether a video is of one of these classes, (B, 1)."""
        return np.isin(label_B, [CLASSES.index(name) for name in names])[:, None]

    def cycles(*names: str) -> Floats:
        """Cycles since the first frame in videos of these classes, and 0 in all others, (B, T)."""
        return np.where(shows(*names), cycles_BT, 0.0)

    t_1T = np.arange(num_frames, dtype=np.float64)[None]
    low_B1, high_B1 = np.array([PERIOD[name] for name in CLASSES]).T[:, label_B, None]
    cycles_BT = t_1T / (low_B1 + (high_B1 - low_B1) * draws["period"][:, None])
    turn = (0.0, 1.0)

    # Even a digit that stays where it is stands on a circle: its place must not tell the class.
    radius_B1 = between("radius", RADIUS)
    room_B1 = BOX[1] - BOX[0] - 2 * radius_B1
    centre_x_B1 = BOX[0] + radius_B1 + room_B1 * draws["centre_x"][:, None]
    centre_y_B1 = BOX[0] + radius_B1 + room_B1 * draws["centre_y"][:, None]
    around_B1 = between("around", turn)
    wave_BT = between("wave", turn) + cycles("Jump", "ZigZag")
    jumped_BT = np.where(shows("Jump"), np.floor(2 * wave_BT) / 2, 0.0)
    round_BT = around_B1 + cycles("CircleRight") - cycles("CircleLeft") + jumped_BT
    x_BT = centre_x_B1 + radius_B1 * cosine(round_BT + cycles("Swing"))
    y_BT = centre_y_B1 + radius_B1 * sine(round_BT + cycles("Bob"))

    heading_B1 = between("heading", turn)
    quarter_B1 = np.floor(4 * heading_B1)  # right, down, left, up
    level_B1 = quarter_B1 % 2 == 0

    once_BT = radius_B1 * sine(around_B1 + cycles("FigureEight"))
    twice_BT = radius_B1 * sine(2 * (around_B1 + cycles("FigureEight")))
    eight_x_BT = centre_x_B1 + np.where(level_B1, once_BT, twice_BT)
    eight_y_BT = centre_y_B1 + np.where(level_B1, twice_BT, once_BT)
    x_BT = np.where(shows("FigureEight"), eight_x_BT, x_BT)
    y_BT = np.where(shows("FigureEight"), eight_y_BT, y_BT)

    flat, steep = BOUNCE_SLANT
    course_B1 = quarter_B1 / 4 + flat + (steep - flat) * (4 * heading_B1 - quarter_B1)
    run_BT = between("speed", BOUNCE_SPEED) * t_1T
    x_BT = np.where(shows("Bounce"), _reflect(x_BT + run_BT * cosine(course_B1)), x_BT)
    y_BT = np.where(shows("Bounce"), _reflect(y_BT + run_BT * sine(course_B1)), y_BT)

    drift_BT = np.where(quarter_B1 < 2, 1.0, -1.0) * between("speed", DRIFT_SPEED) * t_1T
    across_BT = ZIGZAG * radius_B1 * (2 * _triangle(2 * wave_BT) - 1)
    zig_x_BT = np.where(level_B1, _reflect(x_BT + drift_BT), centre_x_B1 + across_BT)
    zig_y_BT = np.where(level_B1, centre_y_B1 + across_BT, _reflect(y_BT + drift_BT))
    x_BT = np.where(shows("ZigZag"), zig_x_BT, x_BT)
    y_BT = np.where(shows("ZigZag"), zig_y_BT, y_BT)

    swell_BT = between("size", turn) + cycles("Grow") - cycles("Shrink")
    size_BT = SIZE[0] + (SIZE[1] - SIZE[0]) * (swell_BT - np.floor(swell_BT))
    angle_B1, brightness_B1 = between("tilt", TILT), between("brightness", BRIGHTNESS)
    return Paths(*np.broadcast_arrays(x_BT, y_BT, angle_B1, size_BT, brightness_B1))


def _triangle(value: Floats) -> Floats:
    """A wave of straight lines: 0 at 0, 1 at 1, 0 at 2, and so on."""
    to_even: Floats = value - 2 * np.rint(value / 2)
    return np.abs(to_even)


def _reflect(place: Floats) -> Floats:
    """Where a straight line through the box is after its reflections off the walls."""
    low, high = BOX
    return low + (high - low) * _triangle((place - low) / (high - low))


_SINE = tuple((-1) ** k / math.factorial(2 * k + 1) for k in reversed(range(10)))


def sine(turns: Floats) -> Floats:
    """sin(2 pi turns), to about 1e-13, the same bits everywhere: a Taylor series on a quarter turn."""
    rest = turns - np.rint(turns)
    rest = np.where(np.abs(rest) > 0.25, np.copysign(0.5, rest) - rest, rest)
    x = (2 * math.pi) * rest
    square = x * x
    series = np.full_like(x, _SINE[0])
    for coefficient in _SINE[1:]:
        series = series * square + coefficient
    return x * series


def cosine(turns: Floats) -> Floats:
    """cos(2 pi turns), as exact and as reproducible as `sine`."""
    return sine(turns + 0.25)


@functools.cache
def bilinear() -> tuple[Floats, ...]:
    """The four coefficients of a + b fx + c fy + d fx fy in every cell of every source image.

    Images get an empty border of one pixel before and two after, so that the cells cover positions
    -1 to 9, and whatever is outside can be clipped to the border. Flattened: (1797 * 10 * 10,).
    """
    grey_BSS = np.pad(source_digits()[0] / 16, ((0, 0), (1, 2), (1, 2)))
    a, right = grey_BSS[:, :-1, :-1], grey_BSS[:, :-1, 1:]
    below, across = grey_BSS[:, 1:, :-1], grey_BSS[:, 1:, 1:]
    return tuple(
        np.ascontiguousarray(part).ravel()
        for part in (a, right - a, below - a, across - right - below + a)
    )


def render(source_F: Ints, paths: Paths) -> Frames:
    """Frames (F, Y, X): for each pixel, the grey of the source image at the point that lands there."""
    frames_FYX = np.empty((len(source_F), FRAME_SIDE, FRAME_SIDE), dtype=np.uint8)
    cells = _SOURCE_SIDE + 2
    middle = (_SOURCE_SIDE - 1) / 2 + 1  # of a source image, counted from its border
    pixel = np.arange(FRAME_SIDE, dtype=np.float64)
    cosine_F, sine_F = cosine(paths.angle) / paths.size, sine(paths.angle) / paths.size
    for begin in range(0, len(source_F), _FRAMES_AT_ONCE):
        now = slice(begin, begin + _FRAMES_AT_ONCE)
        cosine_F1, sine_F1 = cosine_F[now, None], sine_F[now, None]
        dx_FX, dy_FY = pixel - paths.x[now, None], pixel - paths.y[now, None]
        u_FYX = (middle + cosine_F1 * dx_FX)[:, None, :] + (sine_F1 * dy_FY)[:, :, None]
        v_FYX = (middle - sine_F1 * dx_FX)[:, None, :] + (cosine_F1 * dy_FY)[:, :, None]
        np.clip(u_FYX, 0.0, cells - 1.0, out=u_FYX)
        np.clip(v_FYX, 0.0, cells - 1.0, out=v_FYX)
        column_FYX, row_FYX = u_FYX.astype(np.int64), v_FYX.astype(np.int64)
        u_FYX -= column_FYX
        v_FYX -= row_FYX
        cell_FYX = (source_F[now] * cells**2)[:, None, None] + row_FYX * cells + column_FYX
        a_FYX, b_FYX, c_FYX, d_FYX = (part.take(cell_FYX) for part in bilinear())
        grey_FYX = (a_FYX + b_FYX * u_FYX) + (c_FYX + d_FYX * u_FYX) * v_FYX
        grey_FYX *= (255 * paths.brightness[now])[:, None, None]
        frames_FYX[now] = np.rint(grey_FYX)
    return frames_FYX
