"""Whether lists, classes and groups fit together: what must hold before anything is trained on them.

Each rule is a mistake that somebody made with these protocols, or would: a video or a source on both sides of a split,
unused videos tested, a class that is never seen.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from tasks.data.lists import official_counts
from tasks.data.sheet import Split, SplitsFrom


class Member(Protocol):
    """A video as lists see it: an `IndexedVideo`, or an `Entry` before any file was looked at."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def label(self) -> int | None: ...  # noqa: D102
    @property
    def group(self) -> str: ...  # noqa: D102


def check_lists(
    name: str,
    classes: Sequence[str],
    members: Sequence[Member],
    splits: Mapping[int, Split],
    splits_from: SplitsFrom,
    *,
    partial: bool,
) -> tuple[str, ...]:
    """All that is wrong with videos, classes and splits, one sentence each.

    An id twice; a label that is no class; a list that names a video that does not exist or has no label; a video or a
    group on both sides of a split; a class without videos to train or to test; and, where the name is that of an
    official set and `partial` is False, counts that are not the official ones. With one group left out at a time, a
    class may lack test videos in a split, as no other split could be made of the groups; it may never lack training ones.
    """
    problems = [
        f"the id {video} is there {number} times: rename all but one of the files"
        for video, number in Counter(member.id for member in members).items()
        if number > 1
    ]
    problems += [
        f"{member.id} has label {member.label}, but there are {len(classes)} classes"
        for member in members
        if member.label is not None and not 0 <= member.label < len(classes)
    ]
    if problems:  # what follows looks videos up by id, and classes by label
        return tuple(problems)
    by_id = {member.id: member for member in members}
    labels = {member.label for member in members}
    problems += [
        f"class {each} has no videos" for label, each in enumerate(classes) if label not in labels
    ]
    for number, split in sorted(splits.items()):
        problems += _check_split(number, split, classes, by_id, splits_from)
    if not partial:
        problems += _check_counts(name, classes, by_id, splits)
    return tuple(problems)


def _check_split(
    number: int,
    split: Split,
    classes: Sequence[str],
    by_id: Mapping[str, Member],
    splits_from: SplitsFrom,
) -> list[str]:
    problems = []
    for side, ids in (("training", split.train), ("test", split.test)):
        problems += [
            f"{video} is {times} times on the {side} list of split {number}"
            for video, times in Counter(ids).items()
            if times > 1
        ]
        for video in ids:
            if video not in by_id:
                problems.append(
                    f"the {side} list of split {number} names {video}, which does not exist"
                )
            elif by_id[video].label is None:
                problems.append(f"{video} is on the {side} list of split {number} and has no label")
    train = {video for video in split.train if video in by_id}
    test = {video for video in split.test if video in by_id}
    problems += [f"{video} is on both lists of split {number}" for video in sorted(train & test)]
    crossing = {by_id[video].group for video in train} & {by_id[video].group for video in test}
    problems += [
        f"group {group} is on both sides of split {number}: videos of one source would be trained on and tested"
        for group in sorted(crossing)
    ]
    trained = {by_id[video].label for video in train}
    tested = {by_id[video].label for video in test}
    for label, name in enumerate(classes):
        if label not in trained:
            problems.append(f"class {name} has no training videos in split {number}")
        if splits_from != "leave-one-group-out" and label not in tested:
            problems.append(f"class {name} has no test videos in split {number}")
    return problems


def _check_counts(
    name: str, classes: Sequence[str], by_id: Mapping[str, Member], splits: Mapping[int, Split]
) -> list[str]:
    official = official_counts(name)
    if official is None:
        return []
    found = {number: (len(split.train), len(split.test)) for number, split in splits.items()}
    pairs: list[tuple[str, object, object]] = [
        ("videos", len(by_id), official.videos),
        ("classes", len(classes), official.classes),
        ("splits", sorted(found), sorted(official.splits)),
    ]
    for number in sorted(found.keys() & official.splits.keys()):
        pairs.append(
            (f"training and test videos in split {number}", found[number], official.splits[number])
        )
    wrong = [f"{what}: {have}, not {should}" for what, have, should in pairs if have != should]
    if official.per_class:
        for number, split in sorted(splits.items()):
            sides = [Counter(by_id[v].label for v in ids if v in by_id) for ids in (split.train, split.test)]  # fmt: skip
            for label, each in enumerate(classes):
                have = tuple(side[label] for side in sides)
                if have != official.per_class:
                    wrong.append(
                        f"training and test videos of {each} in split {number}: {have}, not {official.per_class}"
                    )
    return [f"{name} is not complete ({each})" for each in wrong]
