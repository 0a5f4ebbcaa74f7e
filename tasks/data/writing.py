"""The one way that files come into being, change their names and go: whole or not at all, and on disk when it is said.

A file is written beside its name, flushed, renamed, and its folder flushed: without the last a power cut may take the name away
again. All others come here for it, so that tests can end a process or fill the disk at every point there is (`reached`).

A writer holds a lock on its file as long as it lives: what a killed one left beside is known by that nobody does.
"""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

BESIDE = re.compile(r"\..+\.\d+\.[0-9a-f]{8}")
"""Names of files that are being written, beside their own: .NAME.PROCESS.DIGITS."""
NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.EBADF)
"""What file systems answer that cannot flush a folder: some network and user-space ones."""


def reached(point: str, path: Path) -> None:
    """Say that a point is reached at which a process may end or the disk be full, and nothing finished may be lost.

    It does nothing. Tests of faults put in its place what kills, stops or fails this process.

    Args:
        point: which of them, such as "synced".
        path: of the file or folder.
    """


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step as others see it; folders on the way are made.

    Raises:
        OSError: when the disk is full, read-only or gone; the old file, if any, is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    reached("open", path)
    with _beside(path) as (beside, sink):
        sink.write(content[: len(content) // 2])
        sink.flush()
        reached("half", path)
        sink.write(content[len(content) // 2 :])
        sink.flush()
        reached("written", path)
        os.fsync(sink.fileno())
        rename(beside, path)


@contextmanager
def _beside(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside one, locked for as long as it is written; it is gone after an error."""
    while True:
        beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with beside.open("xb") as sink:
                with suppress(OSError):  # no locks here: then nothing is taken for abandoned either
                    fcntl.flock(sink, fcntl.LOCK_EX)
                if not os.fstat(sink.fileno()).st_nlink:
                    continue  # it was taken for abandoned before it was locked
                yield beside, sink
                return
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise


def remove_abandoned(folder: Path) -> list[Path]:
    """Remove what killed writers left in a folder beside their files; what is still being written stays.

    Where the file system has no locks, nothing is known to be abandoned, and all stays.

    Returns:
        What was removed; nothing where the folder cannot be read, or there is none.
    """
    removed: list[Path] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for name in [each.name for each in entries if BESIDE.fullmatch(each.name)]:
            with suppress(OSError), (folder / name).open("rb") as left:
                fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(folder / name)
                removed.append(folder / name)
    return removed


def rename(source: Path, target: Path) -> None:
    """Give a file or folder, already flushed, another name in one step; what had that name is replaced.

    Raises:
        OSError: when the disk is full, read-only or gone.
    """
    reached("rename", target)
    source.replace(target)
    reached("renamed", target)
    flush_folder(target.parent)


def link(source: Path, target: Path) -> None:
    """Give a file, already flushed, a second name in one step.

    Raises:
        FileExistsError: when something has that name.
        OSError: when the file system has no hard links, is full, read-only or gone.
    """
    reached("link", target)
    os.link(source, target)
    reached("linked", target)
    flush_folder(target.parent)


def remove(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        OSError: when the disk is read-only or gone.
    """
    reached("remove", path)
    path.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Have a folder's names on disk; file systems that cannot do that are left to do as they do.

    Raises:
        OSError: when the disk fails.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
    finally:
        os.close(handle)
