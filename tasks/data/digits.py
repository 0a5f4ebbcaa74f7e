"""Moving handwritten digits: the data that comes with the harness, so that it runs without a download.

scikit-learn's 1,797 digits of 8 x 8 pixels move in grey frames of 20 x 20, in two forms: an endless
stream of unlabelled videos, and ten labelled "actions" in the shape of UCF-101 (groups, three splits,
lists of the same format). The classes differ in motion only, so a single frame says next to nothing;
how they move is in `tasks.data.digit_motion`.

A video is a pure function of its coordinates. Every uniform is a BLAKE2b hash of a readable string, so
neither NumPy's random streams nor the rest of the batch matter. Digits of the labelled videos are never
in the unlabelled ones.

Shapes: B videos, T frames of a video, F frames of any videos in a row, Y and X rows and columns of
pixels, D numbers of a frame.
"""

import functools
import hashlib
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.data.dataset import EVALUATION_SEED, Video
from tasks.data.digit_motion import (
    CLASSES,
    FRAME_SIDE,
    Frames,
    Paths,
    paths_of,
    render,
    source_digits,
    uniforms,
)

VERSION = 1
"""Part of every hashed string: whoever changes the meaning of a draw changes this, and all videos."""

SPLITS = (1, 2, 3)
"""The splits, numbered as in UCF-101."""

NUM_GROUPS = 90
"""Source images with labelled videos, nine of every digit; each gives one video of every class."""

MIN_FRAMES, MAX_FRAMES = 20, 40
"""Frames of the shortest and of the longest labelled video."""


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
    return tuple(index for index in range(len(source_digits()[1])) if index not in labelled)


def _video(video_id: str, label: int, group: str) -> Video:
    draw = uniforms([_labelled_key(video_id)])["length"][0]
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
    targets = source_digits()[1]
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


# ---- their frames


def frames(video: Video) -> Frames:
    """The frames (T, 20, 20) of one labelled video, a function of its id alone."""
    if video not in videos():
        raise ValueError(
            f"The digits have no {video}: labelled videos are those that videos() lists; "
            "take one from there or from a list of a split."
        )
    return _labelled([video])[0]


@functools.cache
def all_frames() -> dict[str, Frames]:
    """The frames (T, 20, 20) of every labelled video by its id, made once.

    The arrays are shared by all callers, so they are read-only: copy what torch.from_numpy is to take.
    """
    frames_by_id = {}
    for video, frames_TYX in zip(videos(), _labelled(videos()), strict=True):
        frames_TYX.setflags(write=False)
        frames_by_id[video.id] = frames_TYX
    return frames_by_id


def unlabelled(seed: int, indices: Sequence[int], num_frames: int) -> Frames:
    """Videos (B, T, 20, 20) of the endless unlabelled stream that a seed names, one for every index.

    Motions are drawn from all ten, digits from unlabelled_pool(). A shorter video is the beginning of
    the longer one of the same seed and index.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames is {num_frames}, but a video has frames: pass at least 1.")
    seed = operator.index(seed)  # 7 and np.int64(7) are the same video; 7.0 is an error
    draws = uniforms(
        f"digits/v{VERSION}/unlabelled/{seed}/{operator.index(index)}" for index in indices
    )
    label_B = np.floor(draws["label"] * len(CLASSES)).astype(np.int64)
    pool = np.array(unlabelled_pool())
    source_B = pool[np.floor(draws["source"] * len(pool)).astype(np.int64)]
    paths = paths_of(label_B, draws, num_frames)
    flat = Paths(*(path_BT.ravel() for path_BT in paths))
    frames_FYX = render(source_B.repeat(num_frames), flat)
    return frames_FYX.reshape(len(label_B), num_frames, FRAME_SIDE, FRAME_SIDE)


def _labelled(chosen: Sequence[Video]) -> list[Frames]:
    draws = uniforms(_labelled_key(video.id) for video in chosen)
    length_B = np.array([video.num_frames for video in chosen])
    source_B = np.array([source_image(video.group) for video in chosen])
    paths = paths_of(np.array([video.label for video in chosen]), draws, int(length_B.max()))
    shown_BT = np.arange(length_B.max()) < length_B[:, None]
    frames_FYX = render(source_B.repeat(length_B), Paths(*(path_BT[shown_BT] for path_BT in paths)))
    ends_B = np.cumsum(length_B)
    return [
        frames_FYX[end - length : end].copy() for end, length in zip(ends_B, length_B, strict=True)
    ]


# ---- as a dataset


@dataclass(frozen=True, slots=True)
class Digits:
    """The digits as the tasks see them: frames are float32 vectors of 400 numbers in [0, 1]."""

    version: ClassVar[int] = VERSION
    name: ClassVar[str] = "digits"
    classes: ClassVar[tuple[str, ...]] = CLASSES
    splits: ClassVar[tuple[int, ...]] = SPLITS
    stream: ClassVar[str] = "pixels"
    frame_size: ClassVar[int] = FRAME_SIDE * FRAME_SIDE
    output: ClassVar[Literal["logistic", "linear"]] = "logistic"
    notes: ClassVar[tuple[str, ...]] = ()
    details: ClassVar[Mapping[str, str | int]] = MappingProxyType({})

    def train(self, split: int) -> tuple[Video, ...]:
        """The training list of a split."""
        return train_list(split)

    def test(self, split: int) -> tuple[Video, ...]:
        """The test list of a split."""
        return test_list(split)

    def frames(self, video: Video) -> NDArray[np.float32]:
        """All frames of a labelled video, (T, 400)."""
        return _scaled(all_frames()[video.id].reshape(video.num_frames, self.frame_size))

    def window(self, video: Video, start: int, num_frames: int) -> NDArray[np.float32]:
        """A piece of a labelled video, (at most num_frames, 400)."""
        piece_TYX = all_frames()[video.id][start : start + num_frames]
        return _scaled(piece_TYX.reshape(len(piece_TYX), self.frame_size))

    def unlabelled(self, seed: int, indices: Sequence[int], num_frames: int) -> NDArray[np.float32]:
        """Unlabelled sequences by index, (T, B, 400)."""
        frames_BTYX = unlabelled(seed, indices, num_frames)
        flat_BTD = frames_BTYX.reshape(len(indices), num_frames, self.frame_size)
        return _scaled(np.ascontiguousarray(flat_BTD.swapaxes(0, 1)))

    def evaluation(self, indices: Sequence[int], num_frames: int) -> NDArray[np.float32]:
        """Sequences of a stream of its own, (T, B, 400); its images are those of training in other motion."""
        return self.unlabelled(EVALUATION_SEED, indices, num_frames)


def _scaled(frames: Frames) -> NDArray[np.float32]:
    return frames.astype(np.float32) / np.float32(255)
