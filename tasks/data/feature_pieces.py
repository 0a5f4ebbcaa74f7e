"""What is to be stored in a shard, checked against its plan and turned into bytes, a piece of a video at a time.

Shapes: T frames of a video, N of them in one piece, D numbers of a frame's feature.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from tasks.data.feature_plan import Clip, StorePlan

Features = NDArray[np.floating | np.uint8]
"""What a store takes; bytes belong to a store of bytes, floating-point numbers to any other."""


def in_order(
    number: int, plan: StorePlan, features: Iterable[tuple[str, Features | Iterable[Features]]]
) -> Iterator[Iterator[NDArray[np.uint8]]]:
    """The bytes of each video of a shard, in pieces; a video's are to be taken before the next video is asked for.

    Args:
        number: of the shard.
        plan: of the whole store.
        features: of each of the shard's videos the id and the features, whole (T, D) or in pieces (N, D).

    Raises:
        ValueError: when videos are not those of the plan, a shape is wrong, or a number cannot be stored.
    """
    clips = plan.shards[number]
    expected = iter(clips)
    for video, given in features:
        clip = next(expected, None)
        if clip is None:
            raise ValueError(
                f"shard {number} has {len(clips)} videos, but features of {video!r} came after "
                "them: pass those of the plan, in its order"
            )
        if video != clip[0]:
            raise ValueError(
                f"features of {video!r} came where shard {number} has {clip[0]!r}: "
                "pass videos in the plan's order"
            )
        yield _whole(clip, given, plan) if isinstance(given, np.ndarray) else _joined(clip, given, plan)  # fmt: skip
    clip = next(expected, None)
    if clip is not None:
        raise ValueError(
            f"features ended before video {clip[0]!r} of shard {number}: pass all of the plan's videos"
        )


def _whole(clip: Clip, features_TD: Features, plan: StorePlan) -> Iterator[NDArray[np.uint8]]:
    video, frames = clip
    if features_TD.shape != (frames, plan.frame_size):
        raise ValueError(
            f"features of video {video} have the shape {features_TD.shape}, but the plan says "
            f"{(frames, plan.frame_size)}: (frames, frame_size)"
        )
    yield _stored(video, 0, features_TD, plan)


def _joined(
    clip: Clip, pieces_ND: Iterable[Features], plan: StorePlan
) -> Iterator[NDArray[np.uint8]]:
    video, frames = clip
    there = 0
    for piece_ND in pieces_ND:
        if piece_ND.shape[1:] != (plan.frame_size,):
            raise ValueError(
                f"a piece of the features of video {video} has the shape {piece_ND.shape}, but the plan says "
                f"(any number, {plan.frame_size}): (frames, frame_size)"
            )
        if there + len(piece_ND) > frames:
            raise ValueError(
                f"features of video {video} go on after its {frames} frames: pass as many as the plan says"
            )
        yield _stored(video, there, piece_ND, plan)
        there += len(piece_ND)
    if there != frames:
        raise ValueError(
            f"features of video {video} end after {there} of its {frames} frames: pass as many as the plan says"
        )


def _stored(video: str, start: int, features_ND: Features, plan: StorePlan) -> NDArray[np.uint8]:
    """The bytes of frames `start` and on of a video."""
    if plan.dtype == "uint8":
        if features_ND.dtype != np.uint8:
            raise ValueError(
                f"features of video {video} are {features_ND.dtype}, and the plan says uint8: turn them into bytes first"
            )
        return np.ascontiguousarray(features_ND).reshape(-1).view(np.uint8)
    if features_ND.dtype.kind != "f":
        raise ValueError(
            f"features of video {video} are {features_ND.dtype}: pass float16, float32 or float64"
        )
    # The smaller of both, since a comparison is done in the features' own type.
    limit = float(min(np.finfo(plan.dtype).max, np.finfo(features_ND.dtype.name).max))
    # NaN is not below anything, so one comparison finds NaN, Inf and overflow.
    good_ND = np.abs(features_ND) <= limit
    if not good_ND.all():
        frame, place = map(int, np.argwhere(~good_ND)[0])
        value = float(features_ND[frame, place])
        rule = (
            f"beyond the {limit:g} of {plan.dtype}: plan the store with dtype float32, or scale the features"
            if np.isfinite(value)
            else "not a finite number: look at that frame, and at the network's arithmetic"
        )
        raise ValueError(
            f"video {video}, frame {start + frame}, number {place} is {value:g}, {rule}"
        )
    stored_ND = np.ascontiguousarray(features_ND, dtype=plan.numpy_dtype)
    return stored_ND.reshape(-1).view(np.uint8)
