"""The index of a set of videos: what it holds, which lists there are, and that both fit together.

`index.json` lies in the set's folder under the data root and carries a checksum of its own. It is small beside the
videos and says all that tasks ask of a set without them, so a node needs no video file to train on features.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.data.check import check_lists
from tasks.data.index_form import objection
from tasks.data.reading import MOST_BYTES, read_whole
from tasks.data.root import folder_of
from tasks.data.sheet import Split, SplitsFrom
from tasks.data.writing import write_whole

FORMAT = 1
FILE = "index.json"


class NoIndex(ValueError):
    """There is no index of a set, or none that can be believed; the sentence says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexedVideo:
    """One video that is there and whole."""

    id: str
    path: str
    """Relative to the folder of videos, with / between folders; empty where the set has no files."""
    label: int | None
    """Index into the classes, from 0; None for an unlabelled video."""
    group: str
    num_frames: int
    """Frames that the decoder gave, not those that the container claims; of a set without files, frames with features."""
    fps: float
    """Frames a second; 0 if unknown."""
    height: int
    """Rows of pixels of an upright frame; 0 if unknown."""
    width: int
    """Columns of pixels of an upright frame; 0 if unknown."""
    bytes: int
    sha256: str
    """Of the file; empty where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A file that the lists or the folder hold and the index does not."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """A set of videos. Equal contents have equal identities, wherever the files lie."""

    name: str
    videos_dir: str
    """Where the files were when they were indexed, as an absolute path; empty for a set of features without files."""
    classes: tuple[str, ...]
    videos: tuple[IndexedVideo, ...]
    """Sorted by id."""
    splits: Mapping[int, Split]
    splits_from: SplitsFrom = ""
    partial: bool = False
    """Whether a set of an official name was allowed to lack some of its videos: to be said in reports."""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    """What reports should say of the set, as sentences."""
    _by_id: dict[str, IndexedVideo] = field(init=False, repr=False, compare=False)
    _memo: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {video.id: video for video in self.videos})
        object.__setattr__(self, "_memo", {})

    def video(self, id: str) -> IndexedVideo:
        """The video of an id.

        Raises:
            KeyError: when there is none.
        """
        if id not in self._by_id:
            raise KeyError(f"{self.name} has no video '{id}'")
        return self._by_id[id]

    def file_of(self, id: str) -> Path:
        """Where a video's file lies, after a look whether it still is the one that was indexed, by its size.

        Raises:
            KeyError: when the set has no such video.
            ValueError: when the file cannot be reached, or is another one.
        """
        known = self.video(id)
        path = Path(self.videos_dir) / known.path
        try:
            size = path.stat().st_size
        except OSError as error:
            raise _unreadable(path, error, self.name) from None
        if size != known.bytes:
            raise ValueError(
                f"the video {path} has {size} bytes, and {known.bytes} when it was indexed: index {self.name} again"
            )
        return path

    def whole_file_of(self, id: str) -> Path:
        """Where a video's file lies, after it was read and its bytes are those that were indexed.

        For whatever states what its results were made of: a file may be replaced by another one of its size.

        Raises:
            KeyError: when the set has no such video.
            ValueError: when the file cannot be read, or is another one.
        """
        path = self.file_of(id)
        try:
            with path.open("rb") as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(path, error, self.name) from None
        if digest != self.video(id).sha256:
            raise ValueError(
                f"the video {path} has another checksum than when it was indexed: put that file back, or index {self.name} "
                "again"
            )
        return path

    @property
    def has_files(self) -> bool:
        """Whether there are video files; else only features were there (`tasks.data.featured`)."""
        return bool(self.videos_dir)

    @property
    def identity(self) -> str:
        """Hex sha256 of all that can alter an answer: name, classes, splits; ids, labels, groups, frames, files.

        The name is part of it because subsets are drawn by it. Folders are not, nor what was left out or noted.
        """
        if "identity" not in self._memo:
            self._memo["identity"] = _sha256_of_json(
                {
                    "name": self.name,
                    "classes": self.classes,
                    "videos": [
                        (v.id, v.label, v.group, v.num_frames, v.sha256) for v in self.videos
                    ],
                    "splits": {
                        number: [split.train, split.test] for number, split in self.splits.items()
                    },
                }
            )
        return self._memo["identity"]

    @property
    def content_identity(self) -> str:
        """Hex sha256 of the videos alone (ids, frames, files): what features depend on, whatever labels and splits say."""
        if "content" not in self._memo:
            self._memo["content"] = _sha256_of_json(
                [(v.id, v.num_frames, v.sha256) for v in self.videos]
            )
        return self._memo["content"]

    def write(self, folder: Path) -> Path:
        """Write index.json into a folder, whole or not at all; returns its path.

        Raises:
            ValueError: when `check` objects, or `tasks.data.index_form.objection`.
        """
        problems = check(self)
        if problems:
            raise ValueError(f"the index of {self.name} is not written: {problems[0]}")
        head = {
            "name": self.name,
            "videos_dir": self.videos_dir,
            "splits_from": self.splits_from,
            "partial": self.partial,
            "notes": self.notes,
            "classes": self.classes,
            "left_out": [asdict(each) for each in self.left_out],
            "splits": {number: asdict(split) for number, split in self.splits.items()},
        }
        lines = ",\n".join(
            json.dumps({key: getattr(video, key) for key in _VIDEO_FIELDS}) for video in self.videos
        )  # a line a video, for people who look, grep and compare
        body = f'{json.dumps(head, allow_nan=False)[:-1]}, "videos": [\n{lines}\n]}}'.encode()
        content = _opening(body) + body + b"}\n"
        wrong = objection(json.loads(body))
        if len(content) > MOST_BYTES:
            wrong = f"its lists of {len(self.splits):,} splits and {len(self.videos):,} videos take {len(content):,} bytes: make fewer"
        if wrong:  # nobody could read it
            raise ValueError(f"the index of {self.name} is not written: {wrong}")
        path = folder / FILE
        write_whole(path, content)
        return path


def _unreadable(path: Path, error: OSError, name: str) -> ValueError:
    return ValueError(
        f"the video {path} cannot be read ({error.strerror}): put it back, or index {name} again"
    )


_VIDEO_FIELDS = (
    "id", "path", "label", "group", "num_frames", "fps", "height", "width", "bytes", "sha256",
)  # fmt: skip


def read(name: str) -> Index:
    """Read the index of a set under the data root.

    Raises:
        ValueError: for a name that cannot be one.
        NoIndex: when the set was never indexed, or its index is damaged, of another format, or says what none can.
        OSError: when the file is there and cannot be read.
    """
    return read_from(folder_of(name))


def read_from(folder: Path) -> Index:
    """Read the index of a set in a folder, as `read` does."""
    path = folder / FILE
    again = f"run `harness data index {folder.name} --videos DIR ...` again"
    try:
        content = read_whole(path)
    except ValueError as error:
        raise NoIndex(f"{error}; {again}") from None
    except FileNotFoundError:
        raise NoIndex(
            f"there is no index of '{folder.name}' ({path}): run `harness data index {folder.name} --videos DIR ...`, or `harness "
            f"data import-features {folder.name} ...` where features are all there is"
        ) from None
    length = len(_opening(b""))
    body = content[length:-2]
    if content[:length] != _opening(body) or content[-2:] != b"}\n":
        other = content.startswith(b'{"format": ') and not content.startswith(
            _opening(b"").partition(b",")[0]
        )
        what = "is of another format" if other else "is damaged: it does not match its own checksum"
        raise NoIndex(f"{path} {what}; {again}")
    # Made by others, perhaps: its checksum only says that it came as it was sent.
    try:
        told = json.loads(body)
        wrong = objection(told)
    except (ValueError, RecursionError):
        wrong = "its content is not JSON"
    if wrong:
        raise NoIndex(f"{path} is no index that this program wrote: {wrong}; {again}")
    found = _index(told)
    problems = check(found)
    if problems:
        raise NoIndex(f"{path} cannot be trusted: {problems[0]}; {again}")
    return found


def _opening(body: bytes) -> bytes:
    """What comes before the body; its length does not depend on the body."""
    digest = hashlib.sha256(body).hexdigest()
    return f'{{"format": {FORMAT}, "sha256": "{digest}", "content": '.encode()


def _index(found: dict[str, Any]) -> Index:
    return Index(
        name=found["name"],
        videos_dir=found["videos_dir"],
        classes=tuple(found["classes"]),
        videos=tuple(IndexedVideo(**video) for video in found["videos"]),
        splits={
            int(number): Split(train=tuple(split["train"]), test=tuple(split["test"]))
            for number, split in found["splits"].items()
        },
        splits_from=found["splits_from"],
        partial=found["partial"],
        left_out=tuple(LeftOut(**each) for each in found["left_out"]),
        notes=tuple(found["notes"]),
    )


def _sha256_of_json(content: object) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def check(index: Index) -> tuple[str, ...]:
    """All that is wrong with an index, one sentence each; nothing when it can be trusted.

    Beside what `check_lists` says: two videos that are one file, and a video without frames.
    """
    problems = list(
        check_lists(
            index.name,
            index.classes,
            index.videos,
            index.splits,
            index.splits_from,
            partial=index.partial,
        )
    )
    paths = Counter(video.path for video in index.videos if index.has_files)
    for path, number in paths.items():
        if number > 1:
            problems.append(f"the file {path} is {number} videos at once")
    problems += [
        f"{video.id} has {video.num_frames} frames"
        for video in index.videos
        if video.num_frames < 1
    ]
    return tuple(problems)
