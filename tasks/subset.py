"""Which labelled videos may be seen: a pure function of (dataset, split, shots, resample).

The videos of a class are ordered by the sha256 of their coordinates, and the first k are taken. No random
stream of any library is involved, resample 7 needs no other resample, and subsets nest: the k = 1 subset
is part of the k = 2 subset of the same resample.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

from tasks.data.dataset import Dataset, Video, check_split
from tasks.task import Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset:
    """Labelled videos of one split's training list.

    Raises:
        ValueError: for a split that does not exist or leaks, shots below 1 or above what a class has.
    """

    dataset: Dataset
    split: int
    shots: int | None
    """Labelled videos per class; None for the whole training list."""
    resample: int
    """Which of the resamples, from 0."""

    def __post_init__(self) -> None:
        if self.resample < 0:
            raise ValueError(f"resample={self.resample}: resamples count from 0")
        check_split(self.dataset, self.split)
        if self.shots is None:
            return
        if self.shots < 1:
            raise ValueError(
                f"shots={self.shots}: a subset takes at least 1 video per class (or all of them)"
            )
        name, size = _smallest_class(self.dataset, self.split)
        if self.shots > size:
            raise ValueError(
                f"shots={self.shots}: class {name} of {self.dataset.name}, split {self.split}, has only {size} "
                "training videos; ask for fewer shots, or for all"
            )

    @property
    def videos(self) -> tuple[Video, ...]:
        """The videos that may be seen, sorted by id."""
        return _chosen(self)

    @property
    def test_videos(self) -> tuple[Video, ...]:
        """The test list of the same split: the only list that a model trained on this subset is tested on."""
        return self.dataset.test(self.split)

    def values(self) -> dict[str, Value]:
        """The columns that every few-shot cell has in reports and in MLflow."""
        train = self.dataset.train(self.split)
        per_class = self.shots or round(len(train) / len(self.dataset.classes), 2)
        return {
            "dataset": self.dataset.name,
            "stream": self.dataset.stream,
            "split": self.split,
            "shots": "all" if self.shots is None else str(self.shots),
            "labels_per_class": int(per_class) if per_class == int(per_class) else per_class,
            "pool_per_class": round(len(train) / len(self.dataset.classes), 2),
            "resample": self.resample,
        }

    def manifest(self) -> bytes:
        """The subset as a small JSON file: its coordinates, every id, and the sha256 of the ids.

        The same coordinates give the same bytes on every machine and in every version.
        """
        ids = [video.id for video in self.videos]
        content = {
            "dataset": self.dataset.name,
            "split": self.split,
            "shots": "all" if self.shots is None else self.shots,
            "resample": self.resample,
            "videos": ids,
            "sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        }
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


@runtime_checkable
class Classifies(Protocol):
    """A task whose predictions are classes of the test videos of a labelled subset."""

    @property
    def subset(self) -> Subset:
        """What it learns from; its test list is what it is tested on."""


@lru_cache(maxsize=256)
def _smallest_class(dataset: Dataset, split: int) -> tuple[str, int]:
    counts = Counter(video.label for video in dataset.train(split))
    label, size = min(counts.items(), key=lambda item: (item[1], item[0]))
    return dataset.classes[label], size


@lru_cache(maxsize=4096)
def _chosen(subset: Subset) -> tuple[Video, ...]:
    train = subset.dataset.train(subset.split)
    if subset.shots is None:
        return tuple(sorted(train, key=lambda video: video.id))
    by_class: defaultdict[int, list[Video]] = defaultdict(list)
    for video in train:
        by_class[video.label].append(video)

    def rank(video: Video) -> bytes:
        place = f"{subset.dataset.name}\n{subset.split}\n{subset.resample}\n{video.id}"
        return hashlib.sha256(place.encode()).digest()

    chosen = [
        video for videos in by_class.values() for video in sorted(videos, key=rank)[: subset.shots]
    ]
    return tuple(sorted(chosen, key=lambda video: video.id))
