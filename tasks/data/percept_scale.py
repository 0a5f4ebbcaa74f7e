"""The size of a store's numbers: percepts are divided by it before any model sees them.

Activations of a convnet are as large as its weights make them: SqueezeNet's fire9 has a mean of 7 and reaches 95, and an LSTM
whose inputs are so large begins with all gates shut or open and learns nothing (docs/decisions/0014). Labels, lists
and splits play no part. Shapes: T frames of a video, D numbers of a percept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from tasks.data.features import FeatureStore

VIDEOS = 256
FRAMES = 16
"""Looked at of each of so many videos: enough for three digits, and little to read."""

_T = TypeVar("_T")


def root_mean_square(store: FeatureStore) -> float:
    """The root mean square of a store's numbers: a pure function of the store.

    Measured on frames evenly spaced in videos evenly spaced in the order of their ids; all of them where there are few.

    Returns:
        A float above 0; 1 where all numbers are 0.

    Raises:
        StoreError: when a file of the store is damaged or gone.
    """
    squares, count = 0.0, 0
    for video in spaced(sorted(store.videos), VIDEOS):
        for frame in spaced(range(store.videos[video]), FRAMES):
            percept_D = store.window(video, frame, 1).astype(np.float64)
            squares += float(np.square(percept_D).sum())
            count += percept_D.size
    return math.sqrt(squares / count) if squares else 1.0


def spaced(items: Sequence[_T], most: int) -> list[_T]:
    """All items, or `most` of them at about equal distances."""
    if len(items) <= most:
        return list(items)
    return [items[place * len(items) // most] for place in range(most)]
