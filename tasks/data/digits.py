"""Moving handwritten digits: the data that comes with the harness, so that it runs without a download.

scikit-learn's 1,797 digits of 8 x 8 pixels move in grey frames of 20 x 20, in two forms: an endless
stream of unlabelled videos, and ten labelled "actions" in the shape of UCF-101 (groups, three splits,
lists of the same format). The classes differ in motion only: every video draws the same kind of still
picture (digit, place, angle, size, brightness), and its class decides which of these moves, and how.
A single frame says next to nothing.

A video is a pure function of its coordinates. Every uniform is a BLAKE2b hash of a readable string, so
neither NumPy's random streams nor the rest of the batch matter. Pixels come from elementwise + - * /
and rounding in float64, which IEEE 754 fixes to the last bit on any machine; so does the sine, a
polynomial here, since that of a maths library may differ from one processor to the next.

Shapes: B videos, T steps of time, F frames of any videos in a row, Y and X rows and columns of pixels,
S rows and columns of a source image, D draws. The origin is the top left corner, and y points down.
"""

import functools
import hashlib
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Part of every hashed string: whoever changes the meaning of a draw changes this, and all videos."""

FRAME_SIDE = 20
"""Pixels along one side of a frame."""

SPLITS = (1, 2, 3)
"""The splits, numbered as in UCF-101."""

CLASSES: tuple[str, ...] = (
    "Bounce",  # straight on at constant speed, in any direction, off the walls of a box
    "CircleLeft",  # round a circle, counter-clockwise as seen on the screen
    "CircleRight",  # the same, clockwise
    "Grow",  # from small to large in place, then at once small again
    "Pulse",  # brighter and darker in place
    "Shake",  # a fast, small, horizontal sine
    "Shrink",  # Grow played backwards
    "SpinLeft",  # turns in place, counter-clockwise
    "SpinRight",  # the same, clockwise
    "ZigZag",  # drifts along one axis, off the walls, with a small triangle wave across it
)

NUM_GROUPS = 90
"""Source images with labelled videos, nine of every digit; each gives one video of every class."""

MIN_FRAMES, MAX_FRAMES = 20, 40
"""Frames of the shortest and of the longest labelled video."""

_PERIOD = {
    "Bounce": (1.0, 1.0),  # has a speed instead
    "CircleLeft": (10.0, 18.0),
    "CircleRight": (10.0, 18.0),
    "Grow": (10.0, 18.0),
    "Pulse": (6.0, 12.0),
    "Shake": (3.0, 5.0),
    "Shrink": (10.0, 18.0),
    "SpinLeft": (8.0, 16.0),
    "SpinRight": (8.0, 16.0),
    "ZigZag": (6.0, 9.0),
}
"""Frames in one cycle, from and to."""

_BOX = (4.0, FRAME_SIDE - 1 - 4.0)
"""Where the centre of a digit may be, in pixels, on either axis (Shake may leave it by _SHAKE)."""
_RADIUS = (3.0, 4.5)
"""Of a circle, in pixels. Digits that do not circle stand on one, so the places agree."""
_SIZE = (0.65, 1.25)
"""Frame pixels to one source pixel: digits of 5.2 to 10 pixels."""
_BRIGHTNESS = (0.4, 1.0)
"""Grey of full ink, of 1; drawn from a sine over a cycle, so that Pulse has the same spread."""
_BOUNCE_SPEED = (0.9, 1.7)
"""Pixels a frame."""
_DRIFT_SPEED = (0.6, 1.0)
"""Of a ZigZag along its axis, in pixels a frame."""
_ZIGZAG = 0.5
"""Height of its triangle wave, as a part of the radius drawn."""
_SHAKE = (1.2, 2.0)
"""Amplitude of a Shake, in pixels."""

_DRAWS = (
    "label",
    "source",
    "length",
    "centre_x",
    "centre_y",
    "radius",
    "around",
    "angle",
    "size",
    "glow",
    "period",
    "speed",
    "heading",
    "wave",
    "shake",
    "spare",
)
"""The uniforms of one video, in the order of its hash; labelled videos ignore the first two."""

_SOURCE_SIDE = 8
_FRAMES_AT_ONCE = 64  # the arrays of one round of rendering stay in a core's cache

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]
_Frames = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """One labelled video, as the lists name it."""

    id: str
    """As in UCF-101: "v_CircleLeft_g07_c01"."""
    label: int
    """Index into CLASSES."""
    group: str
    """The source image it shows, "g01" to "g90"; a group never crosses a split."""
    num_frames: int
    """From MIN_FRAMES to MAX_FRAMES."""


# ---- the labelled videos and their lists


@functools.cache
def videos() -> tuple[Video, ...]:
    """All 900 labelled videos, by class and then by group."""
    return tuple(
        _video(f"v_{name}_g{number:02d}_c01", label, f"g{number:02d}")
        for label, name in enumerate(CLASSES)
        for number in range(1, NUM_GROUPS + 1)
    )


@functools.cache
def train_list(split: int) -> tuple[Video, ...]:
    """The 600 videos of a split's training list, 60 of every class."""
    tested = set(test_list(split))
    return tuple(video for video in videos() if video not in tested)


@functools.cache
def test_list(split: int) -> tuple[Video, ...]:
    """The 300 videos of a split's test list: three source images of every digit, in every class."""
    if split not in SPLITS:
        raise ValueError(
            f"The digits have no split {split!r}: there are three, as in UCF-101; pass 1, 2 or 3."
        )
    return tuple(video for video in videos() if (int(video.group[1:]) - 1) % 3 == split - 1)


def official_lists(split: int) -> tuple[str, str]:
    """The text of trainlist0N.txt (labels from 1) and of testlist0N.txt (no labels), as in UCF-101."""
    train = "".join(f"{_file(video)} {video.label + 1}\n" for video in train_list(split))
    test = "".join(f"{_file(video)}\n" for video in test_list(split))
    return train, test


def source_image(group: str) -> int:
    """The index into load_digits of the one image that a group shows."""
    if group not in _sources():
        raise ValueError(
            f"The digits have no group {group!r}: groups are 'g01' to 'g{NUM_GROUPS}'; "
            "take one from the field group of a video."
        )
    return _sources()[group]


@functools.cache
def unlabelled_pool() -> tuple[int, ...]:
    """The indices into load_digits that unlabelled videos show: all that no group shows."""
    labelled = set(_sources().values())
    return tuple(index for index in range(len(_digits()[1])) if index not in labelled)


def _video(video_id: str, label: int, group: str) -> Video:
    draw = _uniforms([_labelled_key(video_id)])["length"][0]
    num_frames = MIN_FRAMES + math.floor(draw * (MAX_FRAMES - MIN_FRAMES + 1))
    return Video(id=video_id, label=label, group=group, num_frames=num_frames)


def _labelled_key(video_id: str) -> str:
    return f"digits/v{VERSION}/labelled/{video_id}"


def _file(video: Video) -> str:
    return f"{CLASSES[video.label]}/{video.id}.avi"


@functools.cache
def _sources() -> dict[str, int]:
    """The source image of every group.

    Identities go round once in thirty groups, and splits once in three: g01, g02, g03 are zeros
    tested by splits 1, 2, 3; g04, g05, g06 are ones; and g31 begins with zeros again. So each split
    tests on three source images of every digit.
    """
    targets = _digits()[1]
    by_digit = [
        sorted(np.flatnonzero(targets == digit).tolist(), key=_source_rank) for digit in range(10)
    ]
    sources = {}
    for number in range(NUM_GROUPS):
        triple, place = divmod(number, len(SPLITS))
        turn, digit = divmod(triple, 10)
        sources[f"g{number + 1:02d}"] = by_digit[digit][turn * len(SPLITS) + place]
    return sources


def _source_rank(index: int) -> bytes:
    return hashlib.blake2b(f"digits/v{VERSION}/source/{index}".encode()).digest()


@functools.cache
def _digits() -> tuple[_Floats, _Ints]:
    """The images of load_digits, (1797, 8, 8) from 0 to 16, and the digits they show, (1797,)."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]  # slow to import

    digits = load_digits()
    return digits.images.astype(np.float64), digits.target.astype(np.int64)


# ---- pixels


def frames(video: Video) -> _Frames:
    """The frames (T, 20, 20) of one labelled video, a function of its id alone."""
    if video not in videos():
        raise ValueError(
            f"The digits have no {video}: labelled videos are those that videos() lists; "
            "take one from there or from a list of a split."
        )
    return _labelled([video])[0]


@functools.cache
def all_frames() -> dict[str, _Frames]:
    """The frames (T, 20, 20) of every labelled video by its id, made once.

    The arrays are shared by all callers, so they are read-only: copy what torch.from_numpy is to take.
    """
    frames_by_id = {}
    for video, frames_TYX in zip(videos(), _labelled(videos()), strict=True):
        frames_TYX.setflags(write=False)
        frames_by_id[video.id] = frames_TYX
    return frames_by_id


def unlabelled(seed: int, indices: Sequence[int], num_frames: int) -> _Frames:
    """Videos (B, T, 20, 20) of the endless unlabelled stream that a seed names, one for every index.

    Motions are drawn from all ten, digits from unlabelled_pool(). A shorter video is the beginning of
    the longer one of the same seed and index.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames is {num_frames}, but a video has frames: pass at least 1.")
    seed = operator.index(seed)  # 7 and np.int64(7) are the same video; 7.0 is an error
    draws = _uniforms(
        f"digits/v{VERSION}/unlabelled/{seed}/{operator.index(index)}" for index in indices
    )
    label_B = np.floor(draws["label"] * len(CLASSES)).astype(np.int64)
    pool = np.array(unlabelled_pool())
    source_B = pool[np.floor(draws["source"] * len(pool)).astype(np.int64)]
    paths = _paths(label_B, draws, num_frames)
    flat = _Paths(*(path_BT.ravel() for path_BT in paths))
    frames_FYX = _render(source_B.repeat(num_frames), flat)
    return frames_FYX.reshape(len(label_B), num_frames, FRAME_SIDE, FRAME_SIDE)


def _labelled(chosen: Sequence[Video]) -> list[_Frames]:
    draws = _uniforms(_labelled_key(video.id) for video in chosen)
    length_B = np.array([video.num_frames for video in chosen])
    source_B = np.array([source_image(video.group) for video in chosen])
    paths = _paths(np.array([video.label for video in chosen]), draws, int(length_B.max()))
    shown_BT = np.arange(length_B.max()) < length_B[:, None]
    frames_FYX = _render(
        source_B.repeat(length_B), _Paths(*(path_BT[shown_BT] for path_BT in paths))
    )
    ends_B = np.cumsum(length_B)
    return [
        frames_FYX[end - length : end].copy() for end, length in zip(ends_B, length_B, strict=True)
    ]


def _uniforms(keys: Iterable[str]) -> dict[str, _Floats]:
    """For every name in _DRAWS, a uniform in [0, 1) for each key, (B,): 53 bits of its hash."""
    half = len(_DRAWS) // 2  # a digest of BLAKE2b has 64 bytes, which is eight numbers
    digests = b"".join(
        hashlib.blake2b(f"{key}/{part}".encode(), digest_size=8 * half).digest()
        for key in keys
        for part in range(2)
    )
    bits_BD = np.frombuffer(digests, dtype="<u8").reshape(-1, len(_DRAWS))
    uniforms_BD = (bits_BD >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return dict(zip(_DRAWS, uniforms_BD.T, strict=True))


class _Paths(NamedTuple):
    """How digits move: five arrays of one shape, (B, T) or flattened to (F,)."""

    x: _Floats
    """Centre of the digit, in pixels from that of the top left one."""
    y: _Floats
    angle: _Floats
    """In turns, clockwise as seen on the screen."""
    size: _Floats
    """Frame pixels to one source pixel."""
    brightness: _Floats
    """Grey of full ink, of 1."""


def _paths(label_B: _Ints, draws: dict[str, _Floats], num_frames: int) -> _Paths:
    """Each video's five properties over time (B, T): a still picture of which its class moves a part."""

    def between(name: str, span: tuple[float, float]) -> _Floats:
        low, high = span
        return low + (high - low) * draws[name][:, None]

    def shows(*names: str) -> NDArray[np.bool_]:
        """Whether a video is of one of these classes, (B, 1)."""
        return np.isin(label_B, [CLASSES.index(name) for name in names])[:, None]

    def cycles(*names: str) -> _Floats:
        """Cycles since the first frame in videos of these classes, and 0 in all others, (B, T)."""
        return np.where(shows(*names), cycles_BT, 0.0)

    t_1T = np.arange(num_frames, dtype=np.float64)[None]
    low_B1, high_B1 = np.array([_PERIOD[name] for name in CLASSES]).T[:, label_B, None]
    cycles_BT = t_1T / (low_B1 + (high_B1 - low_B1) * draws["period"][:, None])
    turn = (0.0, 1.0)

    # Even a digit that stays where it is stands on a circle: its place must not tell the class.
    radius_B1 = between("radius", _RADIUS)
    room_B1 = _BOX[1] - _BOX[0] - 2 * radius_B1
    centre_x_B1 = _BOX[0] + radius_B1 + room_B1 * draws["centre_x"][:, None]
    centre_y_B1 = _BOX[0] + radius_B1 + room_B1 * draws["centre_y"][:, None]
    around_BT = between("around", turn) + cycles("CircleRight") - cycles("CircleLeft")
    x_BT = centre_x_B1 + radius_B1 * _cosine(around_BT)
    y_BT = centre_y_B1 + radius_B1 * _sine(around_BT)

    wave_BT = between("wave", turn) + cycles("Shake", "ZigZag")
    x_BT = np.where(shows("Shake"), x_BT + between("shake", _SHAKE) * _sine(wave_BT), x_BT)

    heading_B1 = between("heading", turn)
    run_BT = between("speed", _BOUNCE_SPEED) * t_1T
    x_BT = np.where(shows("Bounce"), _reflect(x_BT + run_BT * _cosine(heading_B1)), x_BT)
    y_BT = np.where(shows("Bounce"), _reflect(y_BT + run_BT * _sine(heading_B1)), y_BT)

    quarter_B1 = np.floor(4 * heading_B1)  # right, down, left, up
    level_B1 = quarter_B1 % 2 == 0
    drift_BT = np.where(quarter_B1 < 2, 1.0, -1.0) * between("speed", _DRIFT_SPEED) * t_1T
    across_BT = _ZIGZAG * radius_B1 * (2 * _triangle(2 * wave_BT) - 1)
    zig_x_BT = np.where(level_B1, _reflect(x_BT + drift_BT), centre_x_B1 + across_BT)
    zig_y_BT = np.where(level_B1, centre_y_B1 + across_BT, _reflect(y_BT + drift_BT))
    x_BT = np.where(shows("ZigZag"), zig_x_BT, x_BT)
    y_BT = np.where(shows("ZigZag"), zig_y_BT, y_BT)

    swell_BT = between("size", turn) + cycles("Grow") - cycles("Shrink")
    size_BT = _SIZE[0] + (_SIZE[1] - _SIZE[0]) * (swell_BT - np.floor(swell_BT))
    dim, bright = _BRIGHTNESS
    glow_BT = between("glow", turn) + cycles("Pulse")
    brightness_BT = (dim + bright) / 2 + (bright - dim) / 2 * _sine(glow_BT)
    angle_BT = between("angle", turn) + cycles("SpinRight") - cycles("SpinLeft")
    return _Paths(x_BT, y_BT, angle_BT, size_BT, brightness_BT)


def _triangle(value: _Floats) -> _Floats:
    """A wave of straight lines: 0 at 0, 1 at 1, 0 at 2, and so on."""
    to_even: _Floats = value - 2 * np.rint(value / 2)
    return np.abs(to_even)


def _reflect(place: _Floats) -> _Floats:
    """Where a straight line through the box is after its reflections off the walls."""
    low, high = _BOX
    return low + (high - low) * _triangle((place - low) / (high - low))


_SINE = tuple((-1) ** k / math.factorial(2 * k + 1) for k in reversed(range(10)))


def _sine(turns: _Floats) -> _Floats:
    """sin(2 pi turns), to about 1e-13, the same bits everywhere: a Taylor series on a quarter turn."""
    rest = turns - np.rint(turns)
    rest = np.where(np.abs(rest) > 0.25, np.copysign(0.5, rest) - rest, rest)
    x = (2 * math.pi) * rest
    square = x * x
    series = np.full_like(x, _SINE[0])
    for coefficient in _SINE[1:]:
        series = series * square + coefficient
    return x * series


def _cosine(turns: _Floats) -> _Floats:
    return _sine(turns + 0.25)


@functools.cache
def _bilinear() -> tuple[_Floats, ...]:
    """The four coefficients of a + b fx + c fy + d fx fy in every cell of every source image.

    Images get an empty border of one pixel before and two after, so that the cells cover positions
    -1 to 9, and whatever is outside can be clipped to the border. Flattened: (1797 * 10 * 10,).
    """
    grey_BSS = np.pad(_digits()[0] / 16, ((0, 0), (1, 2), (1, 2)))
    a, right = grey_BSS[:, :-1, :-1], grey_BSS[:, :-1, 1:]
    below, across = grey_BSS[:, 1:, :-1], grey_BSS[:, 1:, 1:]
    return tuple(
        np.ascontiguousarray(part).ravel()
        for part in (a, right - a, below - a, across - right - below + a)
    )


def _render(source_F: _Ints, paths: _Paths) -> _Frames:
    """Frames (F, Y, X): for each pixel, the grey of the source image at the point that lands there."""
    frames_FYX = np.empty((len(source_F), FRAME_SIDE, FRAME_SIDE), dtype=np.uint8)
    cells = _SOURCE_SIDE + 2
    middle = (_SOURCE_SIDE - 1) / 2 + 1  # of a source image, counted from its border
    pixel = np.arange(FRAME_SIDE, dtype=np.float64)
    cosine_F, sine_F = _cosine(paths.angle) / paths.size, _sine(paths.angle) / paths.size
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
        a_FYX, b_FYX, c_FYX, d_FYX = (part.take(cell_FYX) for part in _bilinear())
        grey_FYX = (a_FYX + b_FYX * u_FYX) + (c_FYX + d_FYX * u_FYX) * v_FYX
        grey_FYX *= (255 * paths.brightness[now])[:, None, None]
        frames_FYX[now] = np.rint(grey_FYX)
    return frames_FYX


# ---- as a dataset


@dataclass(frozen=True, slots=True)
class Digits:
    """The digits as the tasks see them: frames are float32 vectors of 400 numbers in [0, 1]."""

    version: ClassVar[int] = VERSION
    name: ClassVar[str] = "digits"
    classes: ClassVar[tuple[str, ...]] = CLASSES
    splits: ClassVar[tuple[int, ...]] = SPLITS
    frame_size: ClassVar[int] = FRAME_SIDE * FRAME_SIDE
    output: ClassVar[Literal["logistic", "linear"]] = "logistic"

    def train(self, split: int) -> tuple[Video, ...]:
        """The training list of a split."""
        return train_list(split)

    def test(self, split: int) -> tuple[Video, ...]:
        """The test list of a split."""
        return test_list(split)

    def frames(self, video: Video) -> NDArray[np.float32]:
        """All frames of a labelled video, (T, 400)."""
        return _scaled(all_frames()[video.id].reshape(video.num_frames, self.frame_size))

    def unlabelled(self, seed: int, indices: Sequence[int], num_frames: int) -> NDArray[np.float32]:
        """Unlabelled sequences by index, (T, B, 400)."""
        frames_BTYX = unlabelled(seed, indices, num_frames)
        flat_BTD = frames_BTYX.reshape(len(indices), num_frames, self.frame_size)
        return _scaled(np.ascontiguousarray(flat_BTD.swapaxes(0, 1)))


def _scaled(frames: _Frames) -> NDArray[np.float32]:
    return frames.astype(np.float32) / np.float32(255)
