"""What lists, folders or a CSV file say of a set of videos, before any file was looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SplitsFrom = Literal["", "ucf101", "hmdb51", "csv", "ids", "drawn", "leave-one-group-out"]
"""How splits came about: official lists in one of two formats, a CSV file, files of ids, or a rule; "" if none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """The two lists of a split."""

    train: tuple[str, ...]
    """Ids of the training list, sorted."""
    test: tuple[str, ...]
    """Ids of the test list, sorted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One video that should be there."""

    id: str
    """Its path in the set without the ending, with / between folders: the name that features and scores carry."""
    file: str
    """Where it should be, relative to the folder of videos."""
    label: int | None
    """Index into the classes, from 0; None for an unlabelled video."""
    group: str
    """Videos of one source, which belong on one side of a split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """All that is known of a set without its files."""

    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    """One for every video, sorted by id."""
    splits: Mapping[int, Split] = field(default_factory=dict)
    splits_from: SplitsFrom = ""
    notes: tuple[str, ...] = ()
    """What a report should say of the set, as sentences."""


VIDEO_ENDINGS = (
    ".avi", ".mp4", ".m4v", ".mkv", ".webm", ".mov", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv", ".ts", ".vob",
)  # fmt: skip
"""A file is taken for a video by its ending, in small letters or capitals."""


def id_of(file: str) -> str:
    """The id of a file's path: the path without the ending of a video."""
    stem, dot, ending = file.rpartition(".")
    named = stem and not stem.endswith("/")
    return stem if named and f"{dot}{ending}".lower() in VIDEO_ENDINGS else file
