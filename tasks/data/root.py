"""Where sets of videos lie: one folder a set, under one root."""

import os
import re
from pathlib import Path

VARIABLE = "HARNESS_DATA"
"""The environment variable that names the root; `data` in the current folder without it."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def data_root() -> Path:
    """The folder that holds a folder for every set of videos; it need not exist yet."""
    return Path(os.environ.get(VARIABLE) or "data").expanduser()


def folder_of(name: str) -> Path:
    """The folder of one set of videos: its index, its remembered decoding, its features.

    Raises:
        ValueError: when the name could not be a folder's name on any machine.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"'{name}' is no name for a set of videos: use letters, digits, '.', '_' and '-', "
            "and no '.' in front"
        )
    return data_root() / name
