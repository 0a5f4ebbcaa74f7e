"""Sets of which features are there, and perhaps no videos: an index without files, and features held against an index."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.data.check import check_lists
from tasks.data.hidden6 import Listing, Source, lines_of
from tasks.data.index import Index, IndexedVideo
from tasks.data.labels import nfc
from tasks.data.sheet import Entry, Sheet, Split, id_of

NO_FILES = "indexed from features alone: there are no video files"
NO_NAMES = "its videos have no names, so of which source they are is not known, and near-copies may be trained on and tested"
SHOWN = 3
"""Videos that a message names before it only counts."""


def sheet_of(
    listing: Listing,
    classes: Path | None,
    sides: Sequence[tuple[Path, Path]],
) -> Sheet:
    """What the files of features say of a set, each video a group of its own.

    Args:
        listing: ids and labels.
        classes: a file with a class's name a line, by label; without one they are called "0", "1" and so on.
        sides: of each split, from 1, the file of ids to train on and that of ids to test on.

    Raises:
        ValueError: naming the file and the line that is wrong.
    """
    most = max(listing.labels)
    names = [str(label) for label in range(most + 1)]
    if classes:
        names = [nfc(line) for line in lines_of(classes)]
        if not all(names) or len(set(names)) < len(names):
            raise ValueError(f"{classes}: every line needs a class's name, each another one")
        if len(names) <= most:
            raise ValueError(
                f"{classes} names {len(names)} classes, but there is a label {most}, and labels count from 0: "
                "a line for every label is needed"
            )
    entries = [
        Entry(id=video, file=video, label=label, group=video)
        for video, label in zip(listing.ids, listing.labels, strict=True)
    ]
    known = set(listing.ids)
    splits = {
        number: Split(train=_ids(train, known), test=_ids(test, known))
        for number, (train, test) in enumerate(sides, start=1)
    }
    return Sheet(
        classes=tuple(names),
        entries=tuple(sorted(entries, key=lambda entry: entry.id)),
        splits=splits,
        splits_from="ids" if splits else "",
    )


def index_of(
    name: str, sheet: Sheet, listing: Listing, source: Source
) -> tuple[Index, tuple[str, ...]]:
    """The index of a set without files, and all that is wrong with it, one sentence each.

    Args:
        name: the set's name.
        sheet: its labels, groups and splits.
        listing: its numbers of frames.
        source: where they came from, for what reports should say.
    """
    frames = dict(zip(listing.ids, listing.num_frames, strict=True))
    problems = check_lists(
        name, sheet.classes, sheet.entries, sheet.splits, sheet.splits_from, partial=False
    )
    notes = (*sheet.notes, NO_FILES, *(() if source.names else (NO_NAMES,)))
    index = Index(
        name=name,
        videos_dir="",
        classes=sheet.classes,
        videos=tuple(
            IndexedVideo(
                id=entry.id, path="", label=entry.label, group=entry.group, num_frames=frames[entry.id], fps=0.0, height=0,
                width=0, bytes=0, sha256="",
            )
            for entry in sheet.entries
        ),
        splits=sheet.splits,
        splits_from=sheet.splits_from,
        notes=notes,
    )  # fmt: skip
    return index, problems


def difference(listing: Listing, expected: Sheet | Index) -> str:
    """In what features are not of the videos that lists or an index say, as half a sentence; empty if they are."""
    labels = dict(zip(listing.ids, listing.labels, strict=True))
    frames = dict(zip(listing.ids, listing.num_frames, strict=True))
    if isinstance(expected, Index):
        where, right_frames = "indexed", {each.id: each.num_frames for each in expected.videos}
        right = {each.id: each.label for each in expected.videos}
    else:
        where, right_frames = "listed", {}
        right = {each.id: each.label for each in expected.entries}
    shared = sorted(right.keys() & labels.keys())
    kinds: list[tuple[Sequence[str], str, Callable[[str], str]]] = [
        (sorted(labels.keys() - right.keys()), f"with features and not {where}", str),
        (sorted(right.keys() - labels.keys()), f"{where} and without features", str),
        (
            [video for video in shared if labels[video] != right[video]],
            "with another label",
            lambda video: f"{video}: {labels[video]}, {where} as {right[video]}",
        ),
        (
            [video for video in shared if right_frames.get(video, frames[video]) != frames[video]],
            "with another number of frames",
            lambda video: f"{video}: {frames[video]}, {where} with {right_frames[video]}",
        ),
    ]
    found = []
    for videos, what, show in kinds:
        if videos:
            more = f"; and {len(videos) - SHOWN} more" if len(videos) > SHOWN else ""
            found.append(f"{len(videos)} {what} ({'; '.join(map(show, videos[:SHOWN]))}{more})")
    return ", ".join(found)


def _ids(path: Path, known: set[str]) -> tuple[str, ...]:
    """Ids that a file lists, sorted."""
    first: dict[str, int] = {}
    for place, line in enumerate(lines_of(path), start=1):
        video = id_of(nfc(line))
        if video not in known:
            raise ValueError(f"{path}, line {place}: there is no video {line!r} among the features")
        if video in first:
            raise ValueError(f"{path}, line {place}: {video} is on line {first[video]} already")
        first[video] = place
    return tuple(sorted(first))
