"""What the temporal stream is shown: stacks of stored fields, drawn at random to train and laid out evenly to test.

After Simonyan and Zisserman (2014a, sec. 5). Stacks stay in bytes until they are where the net is: a quarter of the traffic,
and crops are cut before anything is computed. A flipped stack is the flow of the flipped video: mirrored, and u negated.

Shapes: B stacks, L fields of a stack, C = 2L channels (u1, v1, u2, v2, ...), T fields, Y and X pixels.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from tasks.data.dataset import Video
from tasks.data.flow import Quantised
from tasks.data.flow_videos import VideoFlow

if TYPE_CHECKING:
    import numpy as np
    import torch


class Crops(NamedTuple):
    """Crops of stacks, in bytes."""

    levels_BCYX: np.ndarray
    """uint8, as `Quantised` has them."""
    means_BC: np.ndarray
    """float32, pixels of motion to be taken from every channel: each whole field's mean, or 0."""
    labels_B: np.ndarray
    """int64."""


def num_starts(num_frames: int, length: int) -> int:
    """Places in a video where a stack of `length` fields fits; one where it does not, whose last field is then held."""
    return max(1, num_frames - length)


def even_starts(num_frames: int, length: int, count: int) -> list[int]:
    """At most `count` different places for a stack, equally spaced from the first to the last; the middle one if only one."""
    places = num_starts(num_frames, length)
    if count == 1:
        return [(places - 1) // 2]
    return sorted({round(k * (places - 1) / (count - 1)) for k in range(count)})


def corners_and_centre(size: tuple[int, int], crop: int, count: int) -> list[tuple[int, int]]:
    """Upper left pixels of the centre (count 1), or of the four corners after it (count 5)."""
    bottom, right = size[0] - crop, size[1] - crop
    centre = (bottom // 2, right // 2)
    return [centre, (0, 0), (0, right), (bottom, 0), (bottom, right)][:count]


def draw_crops(
    dataset: VideoFlow,
    split: int,
    *,
    seed: int,
    step: int,
    count: int,
    rows: slice,
    length: int,
    crop: int,
    subtract_mean: bool,
) -> Crops:
    """Draw labelled crops from the training list: a pure function of everything given.

    A class is drawn uniformly, then one of its videos, a place for the stack, a crop, and whether it is flipped.

    Args:
        dataset: the videos and their flow.
        split: whose training list.
        seed: of the cell.
        step: of the schedule.
        count: crops of the global batch.
        rows: which of them are wanted.
        length: L, fields of a stack.
        crop: rows and columns of a crop.
        subtract_mean: whether each field's mean is to be taken from it.
    """
    import numpy as np

    by_class = _by_class(dataset, split)
    draws = np.random.Generator(np.random.Philox(key=[seed, step]))
    classes = draws.integers(len(by_class), size=count)
    # Of each crop: which video, where in it, top, left, flipped; all of [0, 1).
    where = draws.random((count, 5))
    chosen = list(zip(classes[rows], where[rows], strict=True))
    levels_BCYX = np.empty((len(chosen), 2 * length, crop, crop), dtype=np.uint8)
    means_BC = np.zeros((len(chosen), 2 * length), dtype=np.float32)
    labels_B = np.empty(len(chosen), dtype=np.int64)
    for row, (place, (which, start, top, left, flip)) in enumerate(chosen):
        videos = by_class[int(place)]
        video = videos[int(which * len(videos))]
        first = int(start * num_starts(video.num_frames, length))
        stack_CYX = read_stack(dataset, video, first, length)
        corner = (
            int(top * (dataset.rows - crop + 1)),
            int(left * (dataset.columns - crop + 1)),
        )
        levels_BCYX[row] = cut(stack_CYX, corner, crop, flipped=flip < 0.5)
        if subtract_mean:
            means_BC[row] = means(stack_CYX, dataset.bound, flipped=flip < 0.5)
        labels_B[row] = video.label
    return Crops(levels_BCYX, means_BC, labels_B)


def read_stack(dataset: VideoFlow, video: Video, start: int, length: int) -> np.ndarray:
    """Fields start .. start + length as one stack of whole fields, uint8 (C, Y, X)."""
    levels_T2YX = dataset.fields(video, start, length)
    return levels_T2YX.reshape(2 * length, dataset.rows, dataset.columns)


def cut(stack_CYX: np.ndarray, corner: tuple[int, int], crop: int, *, flipped: bool) -> np.ndarray:
    """A crop of a stack, uint8 (C, crop, crop), flipped from left to right if asked."""
    import numpy as np

    top, left = corner
    cut_CYX = stack_CYX[:, top : top + crop, left : left + crop]
    if not flipped:
        return cut_CYX
    mirrored_CYX = cut_CYX[..., ::-1].copy()
    # Byte b stands for (b - 128) levels, so that of -u is 256 - b, which is 0 - b in eight bits; 128 stays.
    np.negative(mirrored_CYX[0::2], out=mirrored_CYX[0::2])
    return mirrored_CYX


def means(stack_CYX: np.ndarray, bound: float, *, flipped: bool) -> np.ndarray:
    """Of each whole field its mean motion in pixels, float32 (C,), as it is in the flipped video if asked."""
    import numpy as np

    level = Quantised(bound=bound).level
    # Exact, and several times as fast as a mean: up to 4096 x 4096 bytes add up to less than 2^32.
    total_C = stack_CYX.sum(axis=(1, 2), dtype=np.uint32)
    mean_C: np.ndarray = (total_C / (stack_CYX.shape[1] * stack_CYX.shape[2]) - 128) * level
    if flipped:
        mean_C[0::2] *= -1
    return mean_C.astype(np.float32, copy=False)


def in_pixels(
    levels_BCYX: torch.Tensor, means_BC: torch.Tensor, bound: float, dtype: torch.dtype
) -> torch.Tensor:
    """Crops as the net reads them: motion in pixels (B, C, Y, X), on the device of the bytes."""
    level = Quantised(bound=bound).level
    return (levels_BCYX.to(dtype) - 128) * level - means_BC.to(dtype)[:, :, None, None]


@lru_cache(maxsize=16)
def _by_class(dataset: VideoFlow, split: int) -> tuple[tuple[Video, ...], ...]:
    """The training videos of each class that has some, in the order of labels and ids."""
    found: defaultdict[int, list[Video]] = defaultdict(list)
    for video in sorted(dataset.train(split), key=lambda each: each.id):
        found[video.label].append(video)
    return tuple(tuple(found[label]) for label in sorted(found))
