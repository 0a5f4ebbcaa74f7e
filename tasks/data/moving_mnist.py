"""Moving MNIST (sec. 3.2): digits that move about a frame and bounce off its walls, made as they are asked for.

A sequence is a pure function of (seed, index): which digits, from where, in which direction, how fast. The draws are
hashed from the two, so no sequence needs those before it, and batches, ranks and devices do not matter. Where the digits are
is computed in NumPy, in float64; the frames are pasted on the device that trains, whole rows at once.

The rules are those of the authors' code, which made the official test file: a position in [0, 1]^2 times (canvas -
digit) is where the digit's upper left corner is, truncated to whole pixels; a step adds the velocity, and a component
that leaves [0, 1] is set to the wall and turned round; the first frame is one step after the draw; where digits overlap, the brighter
pixel is seen.

Shapes: B sequences, N digits of a sequence, T frames, G glyphs, S rows and columns of a glyph, Y and X of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Speed = Literal["fixed", "uniform"]

FIXED_SPEED = 0.1
"""A frame, as a part of the room that a digit has: 3.6 pixels for digits of 28 in frames of 64, as in the official test file."""
SPEED_RANGE = (0.05, 0.15)
"""The same of speed="uniform". The paper says "over a fixed range" and not which: ours lies around the fixed one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """How digits move.

    Raises:
        ValueError: for a value outside its range.
    """

    num_digits: int = 2
    canvas: int = 64
    """Rows and columns of a frame."""
    speed: Speed = "fixed"

    def __post_init__(self) -> None:
        if self.num_digits < 1:
            raise ValueError(f"num_digits={self.num_digits}: a sequence shows at least 1")
        if self.canvas < 1:
            raise ValueError(f"canvas={self.canvas}: a frame has at least 1 row and column")
        if self.speed not in ("fixed", "uniform"):
            raise ValueError(f"speed={self.speed!r}: choose from fixed, uniform")


class Plan(NamedTuple):
    """What sequences show, before any pixel is drawn."""

    glyph_BN: NDArray[np.int64]
    top_TBN: NDArray[np.int64]
    """Row of a digit's upper left corner."""
    left_TBN: NDArray[np.int64]


def plan(
    rules: Rules, *, num_glyphs: int, side: int, seed: int, indices: Sequence[int], num_frames: int
) -> Plan:
    """Draw sequences.

    Args:
        rules: how digits move.
        num_glyphs: G, glyphs to choose from.
        side: S.
        seed: names the endless stream of sequences.
        indices: which of them; B in number.
        num_frames: T; a shorter sequence is the beginning of the longer one.

    Raises:
        ValueError: when a glyph does not fit the frame, or there is no frame.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames={num_frames}: a sequence has at least 1")
    room = rules.canvas - side
    if room < 1:
        raise ValueError(
            f"digits of {side} pixels cannot move in a frame of {rules.canvas}: take a larger canvas"
        )
    draws = uniforms(seed, indices, rules.num_digits * 5).reshape(len(indices), rules.num_digits, 5)
    glyph_BN = np.floor(draws[..., 0] * num_glyphs).astype(np.int64)
    place_BN2 = draws[..., 1:3].copy()  # (y, x) in [0, 1]
    angle_BN = 2 * math.pi * draws[..., 3]
    low, high = (FIXED_SPEED,) * 2 if rules.speed == "fixed" else SPEED_RANGE
    speed_BN = low + (high - low) * draws[..., 4]
    velocity_BN2 = np.stack([speed_BN * np.sin(angle_BN), speed_BN * np.cos(angle_BN)], axis=-1)
    corner_TBN2 = np.empty((num_frames, *place_BN2.shape), dtype=np.int64)
    for frame in range(num_frames):
        place_BN2 += velocity_BN2
        outside_BN2 = (place_BN2 <= 0) | (place_BN2 >= 1)
        np.clip(place_BN2, 0, 1, out=place_BN2)
        velocity_BN2[outside_BN2] *= -1
        corner_TBN2[frame] = room * place_BN2  # truncated
    return Plan(glyph_BN, corner_TBN2[..., 0], corner_TBN2[..., 1])


def draw(rules: Rules, glyphs_GSS: torch.Tensor, planned: Plan) -> torch.Tensor:
    """Paste digits.

    A frame's rows are copied whole: of a bank in which every glyph row lies between as many zeros as a row of the
    frame can need, the place where reading begins is the digit's place.

    Args:
        rules: how large a frame is.
        glyphs_GSS: uint8, on the device where the frames are to be.
        planned: what is where.

    Returns:
        uint8 (T, B, Y, X).
    """
    import torch
    from torch.nn import functional

    device = glyphs_GSS.device
    side, canvas = glyphs_GSS.shape[1], rules.canvas
    room = canvas - side
    _, num_sequences, num_digits = planned.top_TBN.shape
    # A row of zeros below each glyph stands for all rows of the frame that the digit does not touch.
    chosen = glyphs_GSS[torch.from_numpy(planned.glyph_BN.reshape(-1)).to(device)]
    bank = functional.pad(chosen, (room, room, 0, 1)).reshape(-1)
    rows = bank.unfold(0, canvas, 1)
    wide, tall = canvas + room, side + 1
    top_TBN, left_TBN = (
        torch.from_numpy(each).to(device) for each in (planned.top_TBN, planned.left_TBN)
    )
    first_BN = (
        torch.arange(num_sequences * num_digits, device=device).reshape(-1, num_digits) * tall
    )
    row_Y = torch.arange(canvas, device=device)
    frames_TBYX: torch.Tensor | None = None
    for digit in range(num_digits):
        row_TBY = row_Y - top_TBN[:, :, digit, None]
        row_TBY = torch.where((row_TBY < 0) | (row_TBY >= side), side, row_TBY)
        start_TBY = (first_BN[:, digit, None] + row_TBY) * wide + room - left_TBN[:, :, digit, None]
        # index_select copies rows of bytes; indexing with brackets would copy byte by byte.
        drawn_TBYX = rows.index_select(0, start_TBY.reshape(-1)).reshape(*start_TBY.shape, canvas)
        frames_TBYX = drawn_TBYX if frames_TBYX is None else frames_TBYX.maximum(drawn_TBYX)
    assert frames_TBYX is not None
    return frames_TBYX


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seed: int, indices: Sequence[int], count: int) -> NDArray[np.float64]:
    """Draws in [0, 1), a pure function of (seed, index): the counter-based hash of SplitMix64 (Steele et al. 2014).

    Args:
        seed: any whole number of 64 bits.
        indices: whole numbers of 64 bits.
        count: draws of each index.

    Returns:
        float64 (B, count), multiples of 2^-53.
    """
    with np.errstate(over="ignore"):
        stream = _mixed(np.array([seed % 2**64], dtype=np.uint64) + _GOLDEN)
        which = np.array([index % 2**64 for index in indices], dtype=np.uint64)
        own = _mixed(stream ^ _mixed(which + _GOLDEN))
        steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        bits = _mixed(own[:, None] + steps)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
