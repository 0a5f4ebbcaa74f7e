"""Which videos of an indexed set are kept for testing where no labels are looked at: whole groups, by a rule."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import NamedTuple

from tasks.data.index import Index
from tasks.data.listed import index_of

ONE_IN = 10
"""Of the groups of a set without splits, one in so many is held out."""


class Sides(NamedTuple):
    """Ids of videos, sorted. Neither side holds a video of the other, nor a group."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    rule: str
    """Which videos are held out, as the end of a sentence."""


@lru_cache(maxsize=16)
def sides_of(set_name: str, identity: str) -> Sides:
    """`sides` of the set's index, if it still is the one of this identity.

    Raises:
        ValueError: as `sides` and `tasks.data.listed.index_of` do.
    """
    return sides(index_of(set_name, identity))


def sides(index: Index) -> Sides:
    """Hold out the test list of split 1 (of the first split there is), or one group in ten where there are no splits.

    Groups are taken in the order of the sha256 of their names, at least one and rounded down. Trained on are the videos that
    are neither held out nor of a group that is; a video without a group is a group of its own.

    Raises:
        ValueError: when nothing would be left to train on, or nothing to test.
    """
    group_of = {video.id: video.group or video.id for video in index.videos}
    groups = sorted(set(group_of.values()), key=_rank)
    if index.splits:
        first = min(index.splits)
        held_out = set(index.splits[first].test)
        rule = f"those of the test list of split {first}"
    else:
        if len(groups) == 1:
            raise ValueError(
                f"all videos of {index.name} are of one group, so none can be held out: index it with more videos, or name "
                "smaller groups by --groups REGEX"
            )
        chosen = groups[: max(1, len(groups) // ONE_IN)]
        held_out = {video for video, group in group_of.items() if group in set(chosen)}
        rule = f"those of {len(chosen)} of {len(groups)} groups, chosen by a hash of their names"
    seen = {group_of[video] for video in held_out}
    train = [video for video, group in group_of.items() if group not in seen]
    if not train or not held_out:
        raise ValueError(
            f"{index.name} cannot be trained and tested on: {len(train)} videos are left to train on and {len(held_out)} are held "
            f"out ({rule}): index it with other splits"
        )
    return Sides(tuple(sorted(train)), tuple(sorted(held_out)), rule)


def _rank(group: str) -> tuple[bytes, str]:
    return hashlib.sha256(f"held out\n{group}".encode()).digest(), group
