"""From frames to a video's prediction: 16-frame blocks at stride 8, probabilities averaged (sec. 3.3).

A block's prediction is the mean over its steps of the softmax probabilities; a video's is the mean over its
blocks; the answer is the argmax. A video shorter than a block gives exactly one block, with its last frame
held to the end; a tail that does not fill a stride is not covered (docs/decisions/0003). Block accuracy and
video accuracy are different quantities, and both are stored.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tasks.data.dataset import Dataset, ReadOnDevice, Video
from tasks.task import Metric, Predictions, Score

if TYPE_CHECKING:
    import torch

VIDEO_ACCURACY = Metric(
    name="video_accuracy",
    unit="%",
    higher_is_better=True,
    meaning="test videos whose averaged probabilities have their maximum at the right class",
)
BLOCK_ACCURACY = Metric(
    name="block_accuracy",
    unit="%",
    higher_is_better=True,
    meaning="blocks of test videos whose own probabilities have their maximum at the right class",
)
FRAME_ACCURACY = Metric(
    name="frame_accuracy",
    unit="%",
    higher_is_better=True,
    meaning="single frames of test videos whose own probabilities have their maximum at the right class",
)
VIDEO_NLL = Metric(
    name="video_nll",
    unit="nats",
    higher_is_better=False,
    meaning="mean over test videos of -log of the averaged probability of the right class",
)


def block_starts(num_frames: int, *, block: int, stride: int) -> range:
    """First frames of a video's blocks: 1 + (n - block) // stride of them, one for a short video.

    Raises:
        ValueError: for a video without frames.
    """
    if num_frames < 1:
        raise ValueError(
            f"a video of {num_frames} frames cannot be classified: it needs at least 1"
        )
    if num_frames <= block:
        return range(1)
    return range(0, num_frames - block + 1, stride)


@lru_cache(maxsize=256)
def num_test_blocks(dataset: Dataset, split: int, *, block: int, stride: int) -> int:
    """Blocks of all test videos of a split; of thousands of cells that are tested on them it is counted once."""
    return sum(
        len(block_starts(video.num_frames, block=block, stride=stride))
        for video in dataset.test(split)
    )


@lru_cache(maxsize=256)
def num_test_frames(dataset: Dataset, split: int) -> int:
    """Frames of all test videos of a split, counted once in the same way."""
    return sum(video.num_frames for video in dataset.test(split))


def hold(piece_TD: np.ndarray, block: int) -> np.ndarray:
    """A piece of a video as a block, (block, D): the last frame of one that is too short is held to the end."""
    if len(piece_TD) == block:
        return piece_TD
    held = np.repeat(piece_TD[-1:], block - len(piece_TD), axis=0)
    return np.concatenate([piece_TD, held])


def chunk_of(videos: Sequence[Video], chunk: int, size: int) -> Sequence[Video]:
    """The videos of one chunk of evaluation; chunks are cut by position, whatever the number of ranks."""
    return videos[chunk * size : (chunk + 1) * size]


BLOCKS_AT_ONCE = 256
"""Blocks that are classified together: of 16 frames of 4096 numbers 67 MB, however long videos are."""


def as_they_are(frames_ND: torch.Tensor) -> torch.Tensor:
    """Nothing is computed of a frame alone: blocks are of the frames themselves."""
    return frames_ND


def predict_blocks(
    dataset: Dataset,
    videos: Sequence[Video],
    classify: Callable[[torch.Tensor], torch.Tensor],
    *,
    block: int,
    stride: int,
    device: torch.device,
    per_frame: Callable[[torch.Tensor], torch.Tensor] = as_they_are,
) -> Predictions:
    """Class probabilities of every block of some videos.

    Blocks overlap, by half where the stride is half a block. A frame is read once and goes through `per_frame` once, and
    blocks are made of what it gave.

    Args:
        dataset: where the frames come from.
        videos: the videos of a chunk.
        classify: maps what `per_frame` gave of the frames of B blocks, (T, B, G), to probabilities (B, C); it may write over it.
        block: frames of a block.
        stride: frames from one block's start to the next.
        device: where `per_frame` and `classify` compute.
        per_frame: maps frames (N, D) to (N, G), each row of its frame alone.

    Returns:
        Columns video_id, block, start, label, p0 .. p{C-1}; one row a block. At most `BLOCKS_AT_ONCE` blocks go through
        `classify` together, and only their frames are in memory: only those that lie in the blocks of two such passes
        are read, and computed of, a second time.
    """
    import torch

    rows = [
        (video, number, start)
        for video in videos
        for number, start in enumerate(block_starts(video.num_frames, block=block, stride=stride))
    ]
    classified = []
    for first in range(0, len(rows), BLOCKS_AT_ONCE):
        together = [(video, start) for video, _, start in rows[first : first + BLOCKS_AT_ONCE]]
        frames_ND, frame_TB = _frames_once(dataset, together, block, device)
        given_NG = per_frame(frames_ND)
        del frames_ND
        index_TB = torch.from_numpy(frame_TB).to(device)
        given_TBG = given_NG.index_select(0, index_TB.flatten()).view(*index_TB.shape, -1)
        del given_NG
        classified.append(classify(given_TBG).cpu().numpy())
    probabilities_BC = np.concatenate(classified)
    table: Predictions = {
        "video_id": np.array([video.id for video, _, _ in rows]),
        "block": np.array([number for _, number, _ in rows], dtype=np.int32),
        "start": np.array([start for _, _, start in rows], dtype=np.int32),
        "label": np.array([video.label for video, _, _ in rows], dtype=np.int32),
    }
    for index in range(probabilities_BC.shape[1]):
        table[f"p{index}"] = probabilities_BC[:, index]
    return table


def _frames_once(
    dataset: Dataset, blocks: Sequence[tuple[Video, int]], block: int, device: torch.device
) -> tuple[torch.Tensor, np.ndarray]:
    """The frames that blocks are made of, each once, and of each block which of them are its frames.

    Args:
        dataset: where they come from.
        blocks: of each its video and its first frame; those of one video stand together and in order.
        block: frames of a block.
        device: where the frames are wanted.

    Returns:
        Frames float32 (N, D) on the device, and their places int64 (T, B); in a block that is too short the last frame is held.
    """
    import torch

    pieces, firsts_B, lasts_B = [], [], []
    total = 0
    for video, own in itertools.groupby(blocks, key=operator.itemgetter(0)):
        starts = [start for _, start in own]
        count = min(starts[-1] + block, video.num_frames) - starts[0]
        if isinstance(dataset, ReadOnDevice):
            piece_TD = dataset.windows_on(str(device), [(video, starts[0])], count)[:, 0]
        else:
            piece_TD = torch.from_numpy(dataset.window(video, starts[0], count))
        pieces.append(piece_TD)
        firsts_B += [total + start - starts[0] for start in starts]
        total += len(piece_TD)
        lasts_B += [total - 1] * len(starts)
    places_TB = np.arange(block)[:, None] + np.array(firsts_B)
    return torch.cat(pieces).to(device), np.minimum(places_TB, np.array(lasts_B))


def probabilities(predictions: Predictions) -> np.ndarray:
    """The probability columns as one array (rows, classes), float64."""
    names = sorted(
        (n for n in predictions if n[0] == "p" and n[1:].isdigit()), key=lambda n: int(n[1:])
    )
    return np.stack([predictions[name] for name in names], axis=1).astype(np.float64)


def average_by_video(predictions: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the blocks of every video.

    Returns:
        Video ids in sorted order (V,), their labels (V,), and mean probabilities (V, C).

    Raises:
        ValueError: when a block is there twice, or one video has two labels.
    """
    ids, place = np.unique(predictions["video_id"], return_inverse=True)
    blocks = predictions["block"]
    pairs = np.stack([place, blocks])
    if np.unique(pairs, axis=1).shape[1] != len(blocks):
        raise ValueError(
            "a block of a video was predicted twice: predictions are counted exactly once"
        )
    labels = np.full(len(ids), -1, dtype=np.int64)
    labels[place] = predictions["label"]
    if (labels[place] != predictions["label"]).any():
        raise ValueError("one video has two labels in its predictions")
    p_BC = probabilities(predictions)
    total_VC = np.zeros((len(ids), p_BC.shape[1]))
    np.add.at(total_VC, place, p_BC)
    return ids, labels, total_VC / np.bincount(place)[:, None]


def score_videos(
    predictions: Predictions, expected: Sequence[Video], per_block: Metric = BLOCK_ACCURACY
) -> Iterator[Score]:
    """Video accuracy, block accuracy and negative log likelihood.

    Args:
        predictions: the blocks of all test videos.
        expected: the test list; each video must be there exactly once, and no other.
        per_block: what the accuracy over blocks is called; a block may be a single frame.

    Raises:
        ValueError: when videos are missing, unknown or counted twice, or a probability is not finite.
    """
    ids, labels, p_VC = average_by_video(predictions)
    want = {video.id: video.label for video in expected}
    missing, unknown = want.keys() - set(ids.tolist()), set(ids.tolist()) - want.keys()
    if missing or unknown:
        raise ValueError(
            f"{len(missing)} videos of the test list were not predicted and {len(unknown)} others were "
            f"(such as {min(missing | unknown)}): a score is over the whole list and nothing else"
        )
    if not np.isfinite(p_VC).all():
        raise ValueError("a predicted probability is not finite: this model has no score")
    right_V = p_VC.argmax(axis=1) == labels
    right_B = probabilities(predictions).argmax(axis=1) == predictions["label"]
    nll_V = -np.log(np.maximum(p_VC[np.arange(len(labels)), labels], 1e-12))
    yield Score(metric=VIDEO_ACCURACY, value=100.0 * float(right_V.mean()), count=len(right_V))
    yield Score(metric=per_block, value=100.0 * float(right_B.mean()), count=len(right_B))
    yield Score(metric=VIDEO_NLL, value=float(nll_V.mean()), count=len(nll_V))
