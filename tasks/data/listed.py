"""The lists of an indexed set as labelled videos, by the identity of its index."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from tasks.data.dataset import Video
from tasks.data.index import Index, read


@lru_cache(maxsize=16)
def index_of(set_name: str, identity: str) -> Index:
    """The index of a set, if it still is the one of this identity.

    Raises:
        ValueError: when the set was indexed again and differs.
        NoIndex: when there is none that can be believed.
    """
    index = read(set_name)
    if index.identity != identity:
        raise ValueError(
            f"{set_name} was indexed again since this was asked for, and differs: run the command again"
        )
    return index


@lru_cache(maxsize=64)
def listed(
    set_name: str, identity: str, split: int, which: Literal["train", "test"]
) -> tuple[Video, ...]:
    """One list of one split of a set, as labelled videos.

    Raises:
        KeyError: when there is no such split.
        ValueError: when a video on the list has no label, and as `index_of` does.
    """
    index = index_of(set_name, identity)
    lists = index.splits[split]
    found = []
    for video_id in lists.train if which == "train" else lists.test:
        video = index.video(video_id)
        if video.label is None:
            raise ValueError(f"video {video.id} of {set_name} is on a list and has no label")
        # A set whose official lists do not keep groups apart has none to check: each video stands for itself.
        group = video.group or video.id
        found.append(
            Video(id=video.id, label=video.label, group=group, num_frames=video.num_frames)
        )
    return tuple(found)
