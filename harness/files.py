"""The one way that files come into being here: written beside, flushed to disk, renamed."""

import hashlib
import json
from pathlib import Path
from typing import Any

from tasks.data.writing import write_whole


def write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens in between.

    Raises:
        OSError: when the disk is full, read-only or gone; the old file, if any, is untouched.
    """
    write_whole(path, content)


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys, as `write` does."""
    write(path, to_json(content))


def to_json(content: Any) -> bytes:
    """JSON as this project writes it: sorted keys, one space of indent, no NaN."""
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def sha256(content: bytes) -> str:
    """Hex sha256."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
