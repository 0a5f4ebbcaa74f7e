"""Patches without any video: a window that pans over the two photographs that come with scikit-learn.

It stands in for patches of videos (sec. 3.2) where there are none: natural textures that move, though all of a patch at one
velocity, without anything that turns, hides or changes. The photographs (china.jpg, flower.jpg: 427 x 640 pixels) are
turned to luma (ITU-R BT.601) and halved by area averaging, so that 32 x 32 pixels show a shape and not only a texture; then
they are smoothed by (1, 2, 1)/4 along rows and columns, as interpolation between sharp pixels would make them flicker.
Training windows stay in the upper two thirds of a photograph, held-out ones in the lower third: patches there vary as much
within themselves (variance 0.015 against 0.016, of pixels in [0, 1]), those of the right third half as much (sky, leaves out of focus). A window begins anywhere,
moves in any direction at 0 to 2 pixels a frame, all as likely, between pixels by bilinear interpolation, and turns round at the borders.

Shapes: B sequences, T frames, Y and X pixels of a part of a photograph, P photographs, D = 32 x 32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.data.dataset import EVALUATION_SEED
from tasks.data.moving_mnist import uniforms

PHOTOS = ("china.jpg", "flower.jpg")
SIDE = 32
FASTEST = 2.0
"""Pixels a frame, of the halved photographs."""

Part = Literal["train", "held_out"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PannedPhotos:
    """The built-in patches: frames are pixels in [0, 1], minus `offset`, divided by `scale`."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "panned_photos"
    stream: ClassVar[str] = "patches"
    colour: ClassVar[Literal["gray"]] = "gray"
    side: ClassVar[int] = SIDE
    frame_size: ClassVar[int] = SIDE**2
    output: ClassVar[Literal["logistic", "linear"]] = "linear"
    notes: ClassVar[tuple[str, ...]] = (
        "panned_photos: no videos, but windows of 32 x 32 that pan over two photographs at 0 to 2 pixels a frame; training windows "
        "lie in the upper two thirds of each, held-out ones in the lower third. Losses cannot be compared with those on patches of UCF-101.",
        "panned_photos: pixels in [0, 1] minus the training mean, divided by the training standard deviation (one number each), so "
        "squared errors are in units of that variance.",
    )

    @property
    def details(self) -> Mapping[str, str | int]:
        """Nothing: there is one such set."""
        return {}

    @property
    def scale(self) -> float:
        """Standard deviation of training pixels in [0, 1]; a squared error times its square is in units of such pixels."""
        return _level().sd

    @property
    def offset(self) -> float:
        """Mean of training pixels in [0, 1]: a frame times `scale` plus this is a picture."""
        return _level().mean

    def unlabelled(self, seed: int, indices: Sequence[int], num_frames: int) -> NDArray[np.float32]:
        """Training sequences, float32 (T, B, D): a pure function of (seed, index); a shorter one is a longer one's beginning.

        Raises:
            ValueError: for no frames.
        """
        return _panned("train", seed, indices, num_frames)

    def evaluation(self, indices: Sequence[int], num_frames: int) -> NDArray[np.float32]:
        """Held-out sequences, float32 (T, B, D): a pure function of the index."""
        return _panned("held_out", EVALUATION_SEED, indices, num_frames)


class Paths(NamedTuple):
    """Where windows are: which photograph, and the upper left corners in pixels of its part."""

    photo_B: NDArray[np.int64]
    row_TB: NDArray[np.float64]
    column_TB: NDArray[np.float64]


def paths(seed: int, indices: Sequence[int], num_frames: int, room: tuple[int, int]) -> Paths:
    """Draw where windows go.

    Args:
        seed: names the endless stream.
        indices: which sequences of it.
        num_frames: T.
        room: the largest row and column of a corner, from 0.

    Raises:
        ValueError: for no frames.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames={num_frames}: a sequence has at least 1")
    photo_B, row_B, column_B, turn_B, pace_B = uniforms(seed, indices, 5).T
    angle_B, speed_B = 2 * math.pi * turn_B, FASTEST * pace_B
    step_T1 = np.arange(num_frames)[:, None]
    return Paths(
        np.floor(photo_B * len(PHOTOS)).astype(np.int64),
        _between(row_B * room[0] + step_T1 * (speed_B * np.sin(angle_B)), room[0]),
        _between(column_B * room[1] + step_T1 * (speed_B * np.cos(angle_B)), room[1]),
    )


def _between(place: NDArray[np.float64], room: int) -> NDArray[np.float64]:
    """Where something is that moves between two walls at 0 and `room`, and would be at `place` without them."""
    along = np.mod(place, 2 * room)
    return np.asarray(np.minimum(along, 2 * room - along))


def _panned(part: Part, seed: int, indices: Sequence[int], num_frames: int) -> NDArray[np.float32]:
    part_PYX = _normalised(part)
    room = part_PYX.shape[1] - 1 - SIDE, part_PYX.shape[2] - 1 - SIDE
    photo_B, row_TB, column_TB = paths(seed, indices, num_frames, room)
    top_TB, left_TB = np.floor(row_TB).astype(np.int64), np.floor(column_TB).astype(np.int64)
    # One row and column more than is shown, to interpolate; all pixels of a window lie at one place between them.
    windows = np.lib.stride_tricks.sliding_window_view(part_PYX, (SIDE + 1, SIDE + 1), (1, 2))
    wide_TBYX = windows[photo_B, top_TB, left_TB]
    down_TB11 = (row_TB - top_TB).astype(np.float32)[..., None, None]
    right_TB11 = (column_TB - left_TB).astype(np.float32)[..., None, None]
    tall_TBYX = wide_TBYX[..., 1:] - wide_TBYX[..., :-1]
    tall_TBYX *= right_TB11
    tall_TBYX += wide_TBYX[..., :-1]
    shown_TBYX = tall_TBYX[..., 1:, :] - tall_TBYX[..., :-1, :]
    shown_TBYX *= down_TB11
    shown_TBYX += tall_TBYX[..., :-1, :]
    return shown_TBYX.reshape(num_frames, len(indices), SIDE**2)


class _Level(NamedTuple):
    mean: float
    sd: float


@cache
def photographs() -> NDArray[np.float64]:
    """The halved and smoothed photographs, pixels in [0, 1], (P, 213, 320)."""
    from sklearn.datasets import load_sample_image  # type: ignore[import-untyped]  # slow to import

    halved = []
    for photo in PHOTOS:
        luma_YX = load_sample_image(photo) @ np.array([0.299, 0.587, 0.114]) / 255
        rows, columns = (size // 2 for size in luma_YX.shape)
        four_Y2X2 = luma_YX[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2)
        halved.append(_smoothed(_smoothed(four_Y2X2.mean(axis=(1, 3))).T).T)
    photos_PYX = np.stack(halved)
    photos_PYX.setflags(write=False)  # all callers share it
    return photos_PYX


def _smoothed(photo_YX: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row averaged with its neighbours as (1, 2, 1)/4; at the border the row itself stands for the one that is not there."""
    padded_YX = np.pad(photo_YX, ((1, 1), (0, 0)), mode="edge")
    return (padded_YX[:-2] + 2 * padded_YX[1:-1] + padded_YX[2:]) / 4


def part_of(photos_PYX: NDArray[np.float64], part: Part) -> NDArray[np.float64]:
    """The part of photographs that windows of a kind stay in: the upper two thirds, or what is below them."""
    border = photos_PYX.shape[1] * 2 // 3
    return photos_PYX[:, :border] if part == "train" else photos_PYX[:, border:]


@cache
def _level() -> _Level:
    train_PYX = part_of(photographs(), "train")
    return _Level(float(train_PYX.mean()), float(train_PYX.std()))


@cache
def _normalised(part: Part) -> NDArray[np.float32]:
    """A part of each photograph as models see it, with its last row and column twice: a window at the border needs them."""
    mean, sd = _level()
    part_PYX = (part_of(photographs(), part) - mean) / sd
    return np.pad(part_PYX, ((0, 0), (0, 1), (0, 1)), mode="edge").astype(np.float32)
