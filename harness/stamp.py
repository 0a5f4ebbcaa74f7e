"""Names by date and time that sort in the order in which they were given, whatever the clock does in between.

The newest attempt at a cell tells what became of it, and the newest submission where it is: after a clock was set back, what
comes next is still named later than what is there.
"""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.data import writing

FORMAT = "%Y%m%dT%H%M%S.%f"
_STAMP = re.compile(r"\d{8}T\d{6}\.\d{6}")


def now() -> str:
    """The date and time in UTC."""
    return datetime.now(UTC).strftime(FORMAT)


def name_after(folder: Path, prefix: str = "") -> str:
    """A name that sorts after all of its kind in a folder: the date and time, or a moment after the newest name's.

    Args:
        folder: where the names are; it need not be there.
        prefix: with which names of this kind begin.
    """
    stamps = [_STAMP.match(path.name, len(prefix)) for path in folder.glob(f"{prefix}*")]
    newest = max((found[0] for found in stamps if found), default="")
    own = now()
    if own <= newest:
        later = datetime.strptime(newest, FORMAT).replace(tzinfo=UTC) + timedelta(microseconds=1)
        own = later.strftime(FORMAT)
    return f"{prefix}{own}-{os.getpid()}"


def new_folder(parent: Path, prefix: str = "") -> Path:
    """Make a folder with such a name.

    Args:
        parent: where; made if it is not there.
        prefix: with which names of this kind begin.

    Raises:
        OSError: when the disk is full, read-only or gone.
    """
    writing.make_folder(parent)
    while True:
        folder = parent / name_after(parent, prefix)
        try:
            folder.mkdir()
        except FileExistsError:
            continue  # a process of another machine had the same number, and the same moment
        return folder
