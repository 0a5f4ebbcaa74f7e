"""Whether activity lasts: the numbers behind "a periodic quality which does not die out" (sec. 3.2, Fig. 7).

The paper shows a picture and states no measure; these are ours. Each is computed for every sequence alone. Shapes: T steps,
B sequences, H units; h lies in (-1, 1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EDGE = 10
"""Steps that "the first" and "the last" are about."""
MOVING = 0.01
"""A unit moves if the standard deviation of its h over the second half of the steps is above this."""

Floats = NDArray[np.float64]


def check_steps(steps: int) -> None:
    """Refuse runs that are too short to be measured.

    Raises:
        ValueError: below two edges and one step more.
    """
    least = 2 * EDGE + 1
    if steps < least:
        raise ValueError(
            f"steps={steps}: the first and the last {EDGE} changes are compared, so run at least {least} steps"
        )


def change(h_TBH: Floats) -> Floats:
    """Mean over units of |h_t - h_{t-1}| for t = 2 .. T: (T - 1, B).

    The step from the encoder's state to the first one of the decoder is left out: it says how well two networks fit, not
    how long one of them keeps moving.
    """
    return np.asarray(np.abs(np.diff(h_TBH, axis=0)).mean(axis=2))


def persistence(change_TB: Floats) -> Floats:
    """The mean of the last ten changes over that of the first ten, (B,): 1 for what goes on for ever, near 0 for what dies out.

    A sequence whose last ten changes are all zero has 0. One that begins to move only later has more than 1, and is refused
    where the first ten changes are exactly zero.

    Raises:
        ValueError: for activity that stands still at first and moves later.
    """
    first_B, last_B = change_TB[:EDGE].mean(axis=0), change_TB[-EDGE:].mean(axis=0)
    if ((first_B == 0) & (last_B > 0)).any():
        raise ValueError(
            f"activity that stands still for {EDGE} steps and then moves has no persistence"
        )
    return np.asarray(np.divide(last_B, first_B, out=np.zeros_like(last_B), where=last_B > 0))


def moving_units(h_TBH: Floats) -> Floats:
    """Percent of units whose h still varies in the second half of the steps, (B,): see `MOVING`."""
    return np.asarray(100.0 * (late(h_TBH).std(axis=0) > MOVING).mean(axis=1))


def late(h_TBH: Floats) -> Floats:
    """The second half of the steps; the longer one where T is odd."""
    return h_TBH[len(h_TBH) // 2 :]


class Rhythm(NamedTuple):
    """The strongest frequency of the second half of the steps; nan where no unit moves then."""

    period_B: Floats
    """Steps of one period: N / k for N steps and k = 1, 2, ... periods in them, so long periods are coarse."""
    share_B: Floats
    """Percent of the power at all frequencies but 0 that this one has."""


def rhythm(h_TBH: Floats) -> Rhythm:
    """Find the strongest frequency: that at which the squared Fourier amplitudes, summed over units, are largest.

    Without a window, and after each unit's mean was taken away. What has died out has no rhythm: a slow decay far below what
    `MOVING` calls motion would otherwise count as one long period.
    """
    late_TBH = late(h_TBH)
    num_steps = len(late_TBH)
    spectrum = np.fft.rfft(late_TBH - late_TBH.mean(axis=0), axis=0)
    # A real signal's power at k lies at k and at -k; the highest frequency of an even length is its own mirror.
    weight_K = np.full(len(spectrum), 2.0)
    weight_K[0] = 0.0
    if num_steps % 2 == 0:
        weight_K[-1] = 1.0
    power_KB = weight_K[:, None] * np.square(np.abs(spectrum)).sum(axis=2)
    alive_B = moving_units(h_TBH) > 0
    strongest_B = power_KB.argmax(axis=0)
    total_B = power_KB.sum(axis=0)
    period_B = np.where(alive_B, num_steps / np.maximum(strongest_B, 1), np.nan)
    share_B = np.full_like(total_B, np.nan)
    np.divide(100.0 * power_KB.max(axis=0), total_B, out=share_B, where=alive_B)
    return Rhythm(period_B, share_B)
