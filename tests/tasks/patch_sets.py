"""A small indexed set of coloured clips, and the recipe of its patches."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np

from tasks.data.index import Index, IndexedVideo
from tasks.data.root import folder_of
from tasks.data.sheet import Split
from tasks.patch_tracks import PatchRecipe
from tests.tasks.flow_sets import write_frames

CLIPS = {"a#1": 37, "b": 3, "c": 1, "d": 33}
SIZE = (24, 40)


def coloured_clip(path: Path, num_frames: int, seed: int) -> Path:
    """Write a clip of 48 x 64 whose colours change everywhere from frame to frame."""
    random = np.random.default_rng(seed)
    frames_TYX3 = random.integers(0, 256, (num_frames, 6, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return write_frames(path, frames_TYX3.astype(np.uint8))


def index_clips(folder: Path, lengths: Mapping[str, int], name: str = "mine") -> Index:
    """Write clips of these lengths into a folder, and index them without labels, each a group of its own."""
    videos = []
    for number, (id, length) in enumerate(sorted(lengths.items())):
        path = coloured_clip(folder / f"{id}.mkv", length, number)
        videos.append(
            IndexedVideo(
                id=id, path=path.name, label=None, group=id, num_frames=length, fps=25, height=48, width=64,
                bytes=path.stat().st_size, sha256=sha256(path.read_bytes()).hexdigest(),
            )
        )  # fmt: skip
    index = Index(name=name, videos_dir=str(folder), classes=(), videos=tuple(videos), splits={})
    folder_of(name).mkdir(parents=True)
    index.write(folder_of(name))
    return index


def recipe_of(index: Index) -> PatchRecipe:
    """Three gray tracks a video, in two shards and more."""
    return PatchRecipe(
        set_name=index.name,
        videos=index.content_identity,
        per_video=3,
        size=SIZE,
        side=8,
        shard_frames=40,
    )


def listed_index(groups: Mapping[str, str], splits: Mapping[int, Split], lengths: int = 4) -> Index:
    """An index without files: videos of these groups, all of one class if there are splits."""
    videos = tuple(
        IndexedVideo(
            id=id, path=f"{id}.avi", label=0 if splits else None, group=group, num_frames=lengths, fps=25, height=48,
            width=64, bytes=1, sha256=sha256(id.encode()).hexdigest(),
        )
        for id, group in sorted(groups.items())
    )  # fmt: skip
    return Index(
        name="listed",
        videos_dir="/nowhere",
        classes=("one",) if splits else (),
        videos=videos,
        splits=splits,
    )
