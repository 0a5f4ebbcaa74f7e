"""Altered files against what reads them: what is read is held against another reading, and a refusal must help."""

import csv
import gzip
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from configs.clusters import Cluster, find
from tasks.data import moving_digits
from tasks.data.check import check_lists
from tasks.data.decode import UnreadableVideo, examine, read_frames
from tasks.data.idx import read_idx
from tasks.data.index import check, read_from
from tasks.data.labels import from_csv
from tasks.data.lists import read_lists
from tasks.data.made_of import labels_carried

Readings: TypeAlias = Mapping[str, Callable[[Path], str]]
"""By kind, what reads a file and says "taken" or "refused"; any exception is a mistake of the program."""


class Wrong(Exception):
    """What was read is not what the file holds, or a refusal that helps nobody."""


def _check(fine: object, what: str) -> None:
    if not fine:
        raise Wrong(what)


def _refused(error: ValueError, path: Path) -> str:
    said = str(error)
    _check("\n" not in said and len(said) < 2000, "the refusal is no sentence")
    _check(path.name in said or str(path.parent) in said, "the refusal does not name the file")
    _check(
        type(error) is ValueError or type(error).__module__.startswith("tasks."),
        f"{type(error).__name__} is no refusal",
    )
    return "refused"


def try_video(path: Path) -> str:
    found = examine(path)
    json.dumps([found.fps, found.duration], allow_nan=False)
    _check("\n" not in found.problem, "the problem is no sentence")
    _check(
        min(found.num_frames, found.claimed, found.fps, found.height, found.width, found.duration)
        >= 0,
        "a number is negative",
    )
    shown = 0
    try:
        for shown, frame_YXC in enumerate(read_frames(path), 1):
            if shown == 1:
                _check(
                    frame_YXC.shape == (found.height, found.width, 3),
                    f"{frame_YXC.shape} was said to be {found.height} x {found.width}",
                )
    except UnreadableVideo as error:
        _check(found.problem, f"a whole file cannot be read: {error}")
        return _refused(error, path)
    _check(
        found.problem or shown == found.num_frames,
        f"{shown} frames of a whole file of {found.num_frames}",
    )
    return "refused" if found.problem else "taken"


def try_lists(path: Path) -> str:
    try:
        sheet = read_lists(path.parent)
    except ValueError as error:
        return _refused(error, path)
    check_lists("mine", sheet.classes, sheet.entries, sheet.splits, sheet.splits_from, partial=True)
    pattern = "*list*.txt" if sheet.splits_from == "ucf101" else "*_test_split*.txt"
    lines = [
        line.strip()
        for file in path.parent.glob(pattern)
        for line in file.read_bytes().decode().splitlines()
        if line.strip()
    ]
    if sheet.splits_from == "hmdb51":
        lines = [line for line in lines if not line.endswith(" 0")]
    listed = sum(len(each.train) + len(each.test) for each in sheet.splits.values())
    _check(len(lines) == listed, "a line was lost")
    _check(
        all(
            each.label is not None and 0 <= each.label < len(sheet.classes)
            for each in sheet.entries
        ),
        "a label is no class",
    )
    return "taken"


def try_csv(path: Path) -> str:
    try:
        sheet = from_csv(path)
    except ValueError as error:
        return _refused(error, path)
    check_lists("mine", sheet.classes, sheet.entries, sheet.splits, sheet.splits_from, partial=True)
    rows = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    _check(len(filled) - 1 == len(sheet.entries), "a line was lost")
    return "taken"


def try_idx(path: Path) -> str:
    try:
        array_NYX = read_idx(path, dimensions=3)
    except ValueError as error:
        return _refused(error, path)
    content = path.read_bytes()
    raw = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    shape = tuple(int.from_bytes(raw[4 * place : 4 * place + 4], "big") for place in (1, 2, 3))
    _check(
        array_NYX.shape == shape
        and math.prod(shape) == len(raw) - 16
        and array_NYX.tobytes() == raw[16:],
        "other pixels",
    )
    return "taken"


def try_npy(path: Path, whole: bytes) -> str:
    moving_digits.TEST_SHAPE = (20, 1, 4, 4)
    moving_digits.TEST_SHA256 = hashlib.sha256(whole).hexdigest()
    try:
        moving_digits.check_test_file(path)
    except ValueError as error:
        return _refused(error, path)
    _check(path.read_bytes() == whole, "another file was taken for the official one")
    return "taken"


def try_index(path: Path) -> str:
    try:
        index = read_from(path.parent)
    except ValueError as error:
        return _refused(error, path)
    _check(not check(index), "it contradicts itself")
    _check(len(index.identity) == len(index.content_identity) == 64, "it has no identity")
    for video in index.videos:
        inside = os.path.normpath(os.path.join(index.videos_dir, video.path))  # noqa: PTH118
        _check(
            Path(inside).is_relative_to(os.path.normpath(index.videos_dir or "."))
            or not index.videos_dir,
            "a path leaves the folder",
        )
    return "taken"


def try_toml(path: Path) -> str:
    try:
        found = find(str(path))
    except ValueError as error:
        return _refused(error, path)
    plain = Cluster()
    for name in Cluster.__dataclass_fields__:
        _check(
            type(getattr(found, name)) is type(getattr(plain, name)), f"{name} is of another type"
        )
        if isinstance(getattr(found, name), int | float):
            _check(math.isfinite(getattr(found, name)), f"{name} is no number")
    return "taken"


def try_made_of(path: Path) -> str:
    try:
        labels_carried(path.with_name("features.h5"), "videos")
    except ValueError as error:
        return _refused(error, path)
    json.loads(path.read_bytes())
    return "taken"


def readings(test_file: bytes) -> Readings:
    """By kind; `test_file` is what the altered arrays were."""
    return {
        "video": try_video,
        "ucf101": try_lists,
        "hmdb51": try_lists,
        "csv": try_csv,
        "idx": try_idx,
        "index": try_index,
        "toml": try_toml,
        "made_of": try_made_of,
        "npy": lambda path: try_npy(path, test_file),
    }
