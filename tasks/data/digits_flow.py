"""Optical flow of the built-in moving digits: the same labelled videos, lists and splits, seen as motion.

Flow is found from the pixels, as it would be for any video, and each field of 20 x 20 is averaged down to 5 x 5: on frames so
small it is smooth, and 98 % of its mean square is left. The method is Farneback's, by a look at seven classes of two source
images: in these frames it is as near to the digits' true motion (0.035 pixels a frame, at a speed of 0.9) as Brox's (0.046) in
a hundredth of the time; DIS, made for large frames, is off by 0.079. Jumps are further than any of them sees.

What stands at frame t are the L fields from t on, as in `tasks.flow_stream`: at the end of a labelled video the last
field is repeated. Unlabelled videos have no end: theirs go on beyond the frames that are asked for.

Shapes: T frames, B videos, F fields, Y and X pixels, D numbers of a frame, 2 = (u, v): u to the right and v down.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.data import digits
from tasks.data.dataset import EVALUATION_SEED, Video
from tasks.data.digit_motion import CLASSES, FRAME_SIDE, Frames
from tasks.data.flow import flow_of

METHOD = "farneback"
SIDE = 5
"""Rows and columns that a field is averaged down to."""
ROOT_MEAN_SQUARE = 1.0
"""Of the averaged fields, in pixels a frame: what models see is divided by it (0.998 over 1,000 unlabelled videos)."""

_FIELD = 2 * SIDE * SIDE
_BLOCK = FRAME_SIDE // SIDE

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DigitsFlow:
    """The digits' flow as the tasks see it: a frame is `length` fields of 2 x 5 x 5 numbers, u1, v1, u2, v2, ...

    Its name is that of the pixels' dataset: subsets are drawn by it, and streams are fused video by video.

    Raises:
        ValueError: for a length below 1, or one that no labelled video has as many fields as.
    """

    length: int = 1
    """L, fields of flow seen at once (paper: 1 and 10)."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "digits"
    classes: ClassVar[tuple[str, ...]] = CLASSES
    splits: ClassVar[tuple[int, ...]] = digits.SPLITS
    output: ClassVar[Literal["logistic", "linear"]] = "linear"
    notes: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.length < digits.MIN_FRAMES:
            raise ValueError(
                f"length={self.length}: the flow of the digits comes in stacks of 1 to {digits.MIN_FRAMES - 1} fields, as "
                f"the shortest video has {digits.MIN_FRAMES} frames"
            )

    @property
    def stream(self) -> str:
        """What its frames show: "flow1", "flow10"."""
        return f"flow{self.length}"

    @property
    def frame_size(self) -> int:
        """Numbers of a frame: 50 a field."""
        return self.length * _FIELD

    @property
    def details(self) -> Mapping[str, str | int]:
        """The stream, which tells it from the pixels."""
        return {"stream": self.stream}

    def train(self, split: int) -> tuple[Video, ...]:
        """The training list of a split, that of the pixels."""
        return digits.train_list(split)

    def test(self, split: int) -> tuple[Video, ...]:
        """The test list of a split, that of the pixels."""
        return digits.test_list(split)

    def frames(self, video: Video) -> Floats:
        """The flow at all frames of a labelled video, (T, D)."""
        return self.window(video, 0, video.num_frames)

    def window(self, video: Video, start: int, num_frames: int) -> Floats:
        """The flow at frames start .. start + num_frames of a labelled video, as far as it has them, (<= num_frames, D)."""
        stop = min(start + num_frames, video.num_frames)
        return _stacked(_fields_of(video), range(start, stop), self.length)

    def unlabelled(self, seed: int, indices: Sequence[int], num_frames: int) -> Floats:
        """The flow of the unlabelled videos of the pixels' stream by index, (T, B, D)."""
        out_TBD = np.empty((num_frames, len(indices), self.frame_size), dtype=np.float32)
        videos_BTYX = digits.unlabelled(seed, indices, num_frames + self.length)
        for row, frames_TYX in enumerate(videos_BTYX):
            out_TBD[:, row] = _stacked(_fields(frames_TYX), range(num_frames), self.length)
        return out_TBD

    def evaluation(self, indices: Sequence[int], num_frames: int) -> Floats:
        """The flow of sequences of a stream of its own, (T, B, D)."""
        return self.unlabelled(EVALUATION_SEED, indices, num_frames)


def flow1() -> DigitsFlow:
    """Single fields."""
    return DigitsFlow(length=1)


def flow10() -> DigitsFlow:
    """Stacks of ten fields."""
    return DigitsFlow(length=10)


@functools.cache
def _fields_of(video: Video) -> Floats:
    """All fields of a labelled video, (T - 1, 50), found once in a process and shared: they are read-only."""
    fields_FD = _fields(digits.frames(video))
    fields_FD.setflags(write=False)
    return fields_FD


def _fields(frames_TYX: Frames) -> Floats:
    """Fields between neighbouring frames, (T - 1, 50)."""
    flow_F2YX = flow_of(frames_TYX[..., None], METHOD)
    blocks = flow_F2YX.reshape(len(flow_F2YX), 2, SIDE, _BLOCK, SIDE, _BLOCK)
    fields_FD: Floats = blocks.mean(axis=(3, 5)).reshape(len(flow_F2YX), _FIELD)
    return fields_FD / np.float32(ROOT_MEAN_SQUARE)


def _stacked(fields_FD: Floats, places: range, length: int) -> Floats:
    """The `length` fields from each place on, (len(places), length * 50); beyond the end stands the last one."""
    first_T1, later_1L = np.array(places, dtype=np.int64)[:, None], np.arange(length)
    which_TL = np.minimum(first_T1 + later_1L, len(fields_FD) - 1)
    stacks_TD: Floats = fields_FD[which_TL].reshape(len(places), -1)
    return stacks_TD
