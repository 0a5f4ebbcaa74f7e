"""A set of indexed videos as the temporal stream sees it: lists and splits from the index, fields from a store of flow.

Which videos and which flow is part of the value, by their identities, so it is part of every cell's key; where the store
lies is not. Shapes: T fields of a window, Y rows, X columns, 2 = (u, v).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from tasks.data.dataset import Video
from tasks.data.feature_shards import shards_missing
from tasks.data.features import FeatureStore
from tasks.data.index import read
from tasks.data.listed import index_of, listed
from tasks.data.plain_json import JSON
from tasks.data.root import folder_of
from tasks.data.stores import stores_in, the_store

if TYPE_CHECKING:
    import numpy as np

FOLDER = "flow"
"""Where stores of flow lie in a set's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoFlow:
    """A set of videos through one store of flow; made by `video_flow`."""

    version: ClassVar[int] = 1

    set_name: str
    index: str
    """Identity of the index: videos, labels, groups, splits."""
    videos: str
    """Identity of the videos alone (`Index.content_identity`)."""
    flow: str
    """Identity of the store: everything that a byte of it depends on."""
    method: str
    bound: float
    """Displacement in pixels that the largest byte stands for."""
    rows: int
    """Y, rows of a field."""
    columns: int
    """X, columns of a field."""
    place: str = field(metadata={"key": False}, compare=False)
    """Name of the store's folder."""

    @property
    def name(self) -> str:
        """The set's name."""
        return self.set_name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return index_of(self.set_name, self.index).classes

    @property
    def splits(self) -> tuple[int, ...]:
        """Numbers of the splits; none for a set without labels."""
        return tuple(sorted(index_of(self.set_name, self.index).splits))

    @property
    def notes(self) -> tuple[str, ...]:
        """What every report on this set should say, each begun with its name: its flow, and what its index notes."""
        index = index_of(self.set_name, self.index)
        made = [
            f"{self.set_name}: flow is {self.place}.",
            *(f"{self.set_name}: {note.rstrip('.')}." for note in index.notes),
        ]
        if index.partial:
            made.append(f"{self.set_name} is not whole: some of its official videos are not there.")
        return tuple(made)

    def train(self, split: int) -> tuple[Video, ...]:
        """The training list of a split."""
        return listed(self.set_name, self.index, split, "train")

    def test(self, split: int) -> tuple[Video, ...]:
        """The test list of a split."""
        return listed(self.set_name, self.index, split, "test")

    def fields(self, video: Video, start: int, count: int) -> np.ndarray:
        """Fields start .. start + count of a video, uint8 (count, 2, Y, X); a last one that is asked for is held.

        Raises:
            StoreError: when the store is not there any more, was replaced, or is damaged.
        """
        import numpy as np

        there = min(count, video.num_frames - start)
        store = _store(self.set_name, self.flow, self.place)
        levels_T2YX = store.window(video.id, start, there).reshape(-1, 2, self.rows, self.columns)
        if there == count:
            return levels_T2YX
        held = np.repeat(levels_T2YX[-1:], count - there, axis=0)
        return np.concatenate([levels_T2YX, held])


def kept_flow(set_name: str, made_of: Mapping[str, JSON]) -> FeatureStore | None:
    """A whole store of flow that is made of these things, whatever its shards; None if there is none."""
    # A damaged store cannot be told from one of other flow: whoever asks computes flow instead.
    known, _ = stores_in(set_name, "flow")
    for place, plan in known.items():
        folder = folder_of(set_name) / FOLDER / place
        same = all(plan.made_of.get(name) == value for name, value in made_of.items())
        if same and not shards_missing(folder, plan):
            return FeatureStore.open(folder, expect=plan.identity)
    return None


def video_flow(set_name: str, flow: str = "") -> VideoFlow:
    """A set of indexed videos with flow that was made.

    Args:
        set_name: the set's name.
        flow: the store, by the first letters of its folder's name (such as "brox-20px"); empty if there is one only.
            Among several, those of videos that the set does not hold any more, and those without all shards, do not count.

    Raises:
        ValueError: when the set was never indexed, or has no such store, or more than one, or the store is damaged, of
            other videos, or lacks shards; the sentence names them.
    """
    index = read(set_name)
    place, plan = the_store(index, "flow", flow)
    match plan.made_of:
        case {
            "method": str(method),
            "bound": float(bound),
            "size": [int(rows), int(columns)],
        } if rows > 0 and plan.dtype == "uint8" and plan.frame_size == 2 * rows * columns:
            return VideoFlow(
                set_name=set_name,
                index=index.identity,
                videos=index.content_identity,
                flow=plan.identity,
                method=method,
                bound=bound,
                rows=rows,
                columns=columns,
                place=place,
            )
    raise ValueError(f"{place} of {set_name} holds no fields of flow: remove it, or name another")


@lru_cache(maxsize=16)
def _store(set_name: str, identity: str, place: str) -> FeatureStore:
    return FeatureStore.open(folder_of(set_name) / FOLDER / place, expect=identity)
