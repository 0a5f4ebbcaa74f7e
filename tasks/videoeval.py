"""From frames to a video's prediction: 16-frame blocks at stride 8, probabilities averaged (sec. 3.3).

A block's prediction is the mean over its steps of the softmax probabilities; a video's is the mean over its
blocks; the answer is the argmax. A video shorter than a block gives exactly one block, with its last frame
held to the end; a tail that does not fill a stride is not covered (docs/decisions/0003). Block accuracy and
video accuracy are different quantities, and both are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tasks.data.dataset import Dataset, Video
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


def read_block(frames_TD: np.ndarray, start: int, block: int) -> np.ndarray:
    """Frames start .. start + block of a video, (block, D); a short video's last frame is held."""
    return hold(frames_TD[start : start + block], block)


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


def predict_blocks(
    dataset: Dataset,
    videos: Sequence[Video],
    classify: Callable[[torch.Tensor], torch.Tensor],
    *,
    block: int,
    stride: int,
    device: torch.device,
) -> Predictions:
    """Class probabilities of every block of some videos.

    Args:
        dataset: where the frames come from.
        videos: the videos of a chunk.
        classify: maps frames (T, B, D) to probabilities (B, C).
        block: frames of a block.
        stride: frames from one block's start to the next.
        device: where `classify` computes.

    Returns:
        Columns video_id, block, start, label, p0 .. p{C-1}; one row a block. At most `BLOCKS_AT_ONCE` blocks go through
        `classify` together.
    """
    import torch

    waiting: list[np.ndarray] = []
    classified: list[np.ndarray] = []
    rows = []

    def classify_waiting() -> None:
        frames_TBD = torch.from_numpy(np.stack(waiting, axis=1))
        waiting.clear()
        classified.append(classify(frames_TBD.to(device)).cpu().numpy())

    for video in videos:
        frames_TD = dataset.frames(video)
        for number, start in enumerate(block_starts(len(frames_TD), block=block, stride=stride)):
            if len(waiting) == BLOCKS_AT_ONCE:
                classify_waiting()
            waiting.append(read_block(frames_TD, start, block))
            rows.append((video.id, number, start, video.label))
    classify_waiting()
    probabilities_BC = np.concatenate(classified)
    ids, numbers, starts, labels = zip(*rows, strict=True)
    table: Predictions = {
        "video_id": np.array(ids),
        "block": np.array(numbers, dtype=np.int32),
        "start": np.array(starts, dtype=np.int32),
        "label": np.array(labels, dtype=np.int32),
    }
    for index in range(probabilities_BC.shape[1]):
        table[f"p{index}"] = probabilities_BC[:, index]
    return table


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
