"""The project's decoding against loops that do the same by PyAV alone: every frame upright, as RGB of 240 x 320.

The clip is a real one, looked for in the folder that HARNESS_TEST_DATA names, else in ../shared/data beside the repository;
where there is none, one is made.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from tasks.data.decode import read_frames
from tests.tasks.clips import write_clip

ROWS, COLUMNS = 240, 320
REAL = (
    "ut_interaction_set1/0_1_4.avi",
    "clips/ucf101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
)


def clips(folder: Path) -> list[Path]:
    """The real clips that are here, or one that is made in a folder."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    data = Path(os.environ.get("HARNESS_TEST_DATA") or beside)
    found = [data / name for name in REAL if (data / name).is_file()]
    return found or [write_clip(folder / "made.avi", 150, height=ROWS, width=COLUMNS)]


def own(path: Path) -> Iterator[np.ndarray]:
    """As percepts are made."""
    return read_frames(path, size=(ROWS, COLUMNS))


def plain(path: Path) -> Iterator[np.ndarray]:
    """The plainest loop, on one thread as ours is."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            yield frame.reformat(
                COLUMNS, ROWS, "rgb24", interpolation=Interpolation.BILINEAR
            ).to_ndarray()


def plain_with_one_scaler(path: Path) -> Iterator[np.ndarray]:
    """The same with one scaler for all frames, which keeps its tables."""
    scaler = VideoReformatter()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            yield scaler.reformat(
                frame, COLUMNS, ROWS, "rgb24", interpolation=Interpolation.BILINEAR
            ).to_ndarray()


def check_same(path: Path) -> int:
    """See that all three give the same frames, and count them.

    Raises:
        ValueError: when they do not: their times could not be compared.
    """
    count = 0
    for ours, *theirs in zip(own(path), plain(path), plain_with_one_scaler(path), strict=True):
        if not all(np.array_equal(ours, each) for each in theirs):
            raise ValueError(f"frame {count} of {path} is not the same: nothing can be compared")
        count += 1
    return count
