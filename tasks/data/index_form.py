"""What index.json may say: others may have made it, and a checksum only says that it came as it was sent."""

import math
import os
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

_SHA256 = re.compile(r"[0-9a-f]{64}|", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_MOST = 2**53
"""Whole numbers that JSON keeps everywhere; no file, frame or length is larger."""


def objection(found: object) -> str:
    """The first thing in an index's content that is not of the form it must have, as "WHERE is not WHAT"; empty if all is."""
    if not isinstance(found, dict):
        return "its content is no table"
    for name, fits, what in _HEAD:
        if name not in found or not fits(found[name]):
            return f"'{name}' is not {what}"
    if len(found) > len(_HEAD):
        return "it says more than indexes do"
    for number, video in enumerate(found["videos"], 1):
        if not isinstance(video, dict) or len(video) != len(_VIDEO):
            return f"video {number} is not a table of {len(_VIDEO)} values"
        for name, fits, what in _VIDEO:
            if name not in video or not fits(video[name]):
                return f"'{name}' of video {number} is not {what}"
        if video["path"] == "" and found["videos_dir"]:
            return f"'path' of video {number} is not the place of a file"
    return ""


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a letter
        return False
    return "\0" not in value


def _is_name(value: object) -> bool:
    return _is_text(value) and value != ""


def _is_inside(value: object) -> bool:
    """Whether it is a path that stays in its folder, or nothing."""
    if not _is_text(value):
        return False
    path = PurePosixPath(str(value))
    return not path.is_absolute() and ".." not in path.parts


def _is_folder(value: object) -> bool:
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        os.fsencode(value)  # names of folders are bytes, and not all of them UTF-8
    except UnicodeEncodeError:
        return False
    return value == "" or PurePosixPath(value).is_absolute()


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _is_label(value: object) -> bool:
    return value is None or _is_count(value)


def _is_rate(value: object) -> bool:
    # A whole number beyond any float is none either.
    return _is_count(value) or (type(value) is float and math.isfinite(value) and value >= 0)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(_is_text(each) for each in value)


def _are_splits(value: object) -> bool:
    return isinstance(value, dict) and all(
        _NUMBER.fullmatch(number) is not None
        and str(int(number)) == number
        and isinstance(split, Mapping)
        and split.keys() == {"train", "test"}
        and all(_are_texts(side) for side in split.values())
        for number, split in value.items()
    )


def _are_left_out(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, Mapping)
        and each.keys() == {"path", "reason"}
        and all(_is_text(told) for told in each.values())
        for each in value
    )


def _is_table_of_videos(value: object) -> bool:
    return isinstance(value, list)


_HEAD = (
    ("name", _is_name, "a name"),
    ("videos_dir", _is_folder, "the whole path of a folder, or nothing"),
    ("splits_from", _is_text, "text"),
    ("partial", lambda value: isinstance(value, bool), "true or false"),
    ("notes", _are_texts, "a list of texts"),
    ("classes", _are_texts, "a list of texts"),
    ("left_out", _are_left_out, "a list of files and reasons"),
    ("splits", _are_splits, "lists to train and to test by number"),
    ("videos", _is_table_of_videos, "a list"),
)
_VIDEO = (
    ("id", _is_name, "a name"),
    ("path", _is_inside, "a path below the folder of videos"),
    ("label", _is_label, "the number of a class, or null"),
    ("group", _is_text, "text"),
    ("num_frames", _is_count, "a number of frames"),
    ("fps", _is_rate, "a number of frames a second"),
    ("height", _is_count, "a number of rows"),
    ("width", _is_count, "a number of columns"),
    ("bytes", _is_count, "a number of bytes"),
    ("sha256", _is_sha256, "a checksum"),
)
