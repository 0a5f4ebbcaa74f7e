"""Splits made by a rule: drawn by group, or one group left out at a time. Pure functions of what they are given."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from tasks.data.sheet import Entry, Split

MOST_DRAWS = 1000
"""Draws of one split before it is said that there is no further test set."""


def draw(
    entries: Sequence[Entry], *, num_splits: int, test_share: float, seed: int
) -> dict[int, Split]:
    """Splits 1 to `num_splits`, whole groups on either side, each class as near to `test_share` as groups allow.

    No two test the same videos: their mean would count one answer twice.

    Groups are taken in the order of the sha256 of (seed, split, group). One goes to the test list when that brings the
    test videos of all classes together nearer to their share, and when every class that it holds keeps another group to
    train on. Then each class without a test video gets its first group that can be spared. A split that tests what an
    earlier one does is drawn again, by the sha256 of (seed, split, 1, group), then 2 and so on. No random stream is
    involved: the same groups and seed give the same splits in every version, however many are asked for.

    Args:
        entries: the videos; those without a label are on no list.
        num_splits: how many splits.
        test_share: part of each class that is tested on, between 0 and 1.
        seed: any number.

    Raises:
        ValueError: for a number of splits below 1, a share that leaves no one to train or to test, or more splits than
            these groups give different test sets.
    """
    if num_splits < 1:
        raise ValueError(f"{num_splits} splits: draw at least 1")
    if not 0 < test_share < 1:
        raise ValueError(f"a test share of {test_share} leaves one side empty: use 0.3, say")
    labels: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for entry in entries:
        if entry.label is not None:
            labels[entry.group][entry.label] += 1
    tested: list[frozenset[str]] = []
    for split in range(1, num_splits + 1):
        for attempt in range(MOST_DRAWS):
            chosen = _draw_one(labels, f"{seed}\n{split}", attempt, test_share)
            if chosen not in tested:
                tested.append(chosen)
                break
        else:
            one = len(tested) == 1
            raise ValueError(
                f"{num_splits} splits cannot be drawn: the {len(labels)} groups give only {len(tested)} different test "
                f"{'set' if one else 'sets'} ({MOST_DRAWS:,} draws found no other), and one that is tested twice counts twice; "
                f"ask for --splits {len(tested)}, name smaller groups by --groups, or take --splits leave-one-group-out"
            )
    return {split: _split(entries, chosen) for split, chosen in enumerate(tested, start=1)}


def _draw_one(
    labels: Mapping[str, Counter[int]], salt: str, attempt: int, test_share: float
) -> frozenset[str]:
    """The groups that are tested; `labels` counts each group's videos by label."""
    if attempt:
        salt = f"{salt}\n{attempt}"

    def rank(group: str) -> tuple[bytes, str]:
        return hashlib.sha256(f"{salt}\n{group}".encode()).digest(), group

    order = sorted(labels, key=rank)
    total: Counter[int] = Counter()
    groups_left: Counter[int] = Counter()  # that train, by class
    for counts in labels.values():
        total.update(counts)
        groups_left.update(counts.keys())
    share = {label: max(1.0, test_share * number) for label, number in total.items()}
    tested: Counter[int] = Counter()
    chosen: set[str] = set()

    def spared(group: str) -> bool:
        return all(groups_left[label] > 1 for label in labels[group])

    def take(group: str) -> None:
        chosen.add(group)
        tested.update(labels[group])
        groups_left.subtract(labels[group].keys())

    for group in order:
        nearer = sum(
            abs(share[label] - tested[label]) - abs(share[label] - tested[label] - number)
            for label, number in labels[group].items()
        )
        if nearer > 0 and spared(group):
            take(group)
    for label in sorted(total):
        if not tested[label]:
            for group in order:
                if label in labels[group] and group not in chosen and spared(group):
                    take(group)
                    break
    return frozenset(chosen)


def leave_one_group_out(entries: Sequence[Entry]) -> tuple[dict[int, Split], tuple[str, ...]]:
    """As many splits as groups, each tested on one of them: splits, and the group that each tests.

    Groups are ordered as people would: 2 before 10.

    Raises:
        ValueError: when there are not two groups.
    """
    groups = sorted({entry.group for entry in entries if entry.label is not None}, key=_natural)
    if len(groups) < 2:
        raise ValueError(
            f"leave-one-group-out needs 2 groups and there are {len(groups)}: name them by --groups REGEX, "
            "or in a column 'group' of the CSV file"
        )
    splits = {split: _split(entries, {group}) for split, group in enumerate(groups, 1)}
    return splits, tuple(groups)


def _split(entries: Sequence[Entry], tested: AbstractSet[str]) -> Split:
    labelled = [entry for entry in entries if entry.label is not None]
    return Split(
        train=tuple(sorted(entry.id for entry in labelled if entry.group not in tested)),
        test=tuple(sorted(entry.id for entry in labelled if entry.group in tested)),
    )


def _natural(text: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    # Odd places are digits and even ones are not, so numbers meet numbers only.
    parts = re.split(r"([0-9]+)", text)
    return tuple((int(part), part) if place % 2 else part for place, part in enumerate(parts)), text
