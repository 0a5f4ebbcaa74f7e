"""What a task asks of a set of videos: lists, splits, groups and frames, or sequences without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch

EVALUATION_SEED = 0x5EED
"""Seed of held-out sequences where they are drawn from a stream."""
TRAINING_SEEDS = 1 << 32
"""Added to the seeds of training streams, so that no training stream is the one of evaluation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """One labelled video."""

    id: str
    label: int
    """Index into the dataset's classes, from 0."""
    group: str
    """Videos of one source (UCF's gNN); a group never crosses a split."""
    num_frames: int


class Labelled(Protocol):
    """Labelled videos with splits.

    An implementation is a frozen dataclass: its class name, version and fields are part of a cell's key.
    """

    version: ClassVar[int]

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""

    @property
    def splits(self) -> tuple[int, ...]:
        """Numbers of the official splits."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that every report on it should repeat."""

    def __hash__(self) -> int:
        """Datasets are values: lists and subsets are remembered by them."""

    def train(self, split: int) -> tuple[Video, ...]:
        """The official training list of a split."""

    def test(self, split: int) -> tuple[Video, ...]:
        """The official test list of a split."""


class Unlabelled(Protocol):
    """An endless stream of unlabelled sequences, and others to evaluate on.

    Frames are float32 vectors of `frame_size` numbers, scaled as the models expect them. An implementation is a frozen
    dataclass: its class name, version and fields are part of a cell's key.
    """

    version: ClassVar[int]

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that every report on it should repeat."""

    @property
    def stream(self) -> str:
        """What its frames show: "pixels", or percepts of "rgb", "flow1" or "flow10" (fields of flow at once)."""

    @property
    def frame_size(self) -> int:
        """Numbers of a frame."""

    @property
    def output(self) -> Literal["logistic", "linear"]:
        """The decoders' output units: logistic for frames in [0, 1], linear for anything else."""

    @property
    def details(self) -> Mapping[str, str | int]:
        """What tells it from others of its name; columns of reports and params of MLflow."""

    def unlabelled(self, seed: int, indices: Sequence[int], num_frames: int) -> np.ndarray:
        """Sequences to train on by index, float32 (T, B, frame_size): a pure function of (seed, index)."""

    def evaluation(self, indices: Sequence[int], num_frames: int) -> np.ndarray:
        """Sequences to evaluate on by index from 0, float32 (T, B, frame_size)."""


@runtime_checkable
class DrawnOnDevice(Protocol):
    """A stream that can be drawn where it is trained on."""

    def unlabelled_on(
        self, device: str, seed: int, indices: Sequence[int], num_frames: int
    ) -> torch.Tensor:
        """What `unlabelled` gives, as a tensor on a device of torch's."""


@runtime_checkable
class ReadOnDevice(Protocol):
    """Labelled videos whose frames can be read to where they are computed with, many windows at once."""

    def windows_on(
        self, device: str, windows: Sequence[tuple[Video, int]], num_frames: int
    ) -> torch.Tensor:
        """Of each window, by its video and its first frame, what `window` gives, float32 (T, B, frame_size) on a device of torch's.

        Beyond the end of a video its last frame is held.
        """


class Dataset(Labelled, Unlabelled, Protocol):
    """Labelled videos with splits, and an endless stream of unlabelled ones."""

    def frames(self, video: Video) -> np.ndarray:
        """All frames of a labelled video, float32 (T, frame_size)."""

    def window(self, video: Video, start: int, num_frames: int) -> np.ndarray:
        """Frames start .. start + num_frames of a labelled video, as far as it has them, float32 (<= num_frames, frame_size)."""


@lru_cache(maxsize=256)
def check_split(dataset: Labelled, split: int) -> None:
    """Check one split of a dataset before anything is trained on it.

    Raises:
        ValueError: when the split does not exist, a video is on both of its lists, or a group crosses it.
    """
    if split not in dataset.splits:
        known = ", ".join(map(str, dataset.splits))
        raise ValueError(f"split {split} of {dataset.name} does not exist: choose from {known}")
    train, test = dataset.train(split), dataset.test(split)
    for what, seen, held_out in (
        ("video", {v.id for v in train}, {v.id for v in test}),
        ("group", {v.group for v in train}, {v.group for v in test}),
    ):
        both = seen & held_out
        if both:
            raise ValueError(
                f"{what} {min(both)} is on both sides of split {split} of {dataset.name} ({len(both)} in all): "
                f"a {what} belongs to the training list or to the test list, never to both"
            )
