"""The one way that files come into being, change their names and go: whole or not at all, and on disk when it is said.

A file is written beside its name, flushed, renamed, and its folder flushed: without the last a power cut may take the name away
again. All others come here for it, so that tests can end a process or fill the disk at every point there is (`reached`).

A writer holds a lock on its file as long as it lives: what a killed one left beside is known by that nobody does.
"""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]
"""This machine, in the names of files that it is writing."""
BESIDE = re.compile(r"\..+\.\d+\.([0-9a-f]{4})[0-9a-f]{8}")
"""Names of files that are being written, beside their own: .NAME.PROCESS.MACHINE-AND-DIGITS."""
SURELY_OVER_S = 24 * 3600.0
"""Age from which a file that another machine was writing is taken for abandoned: its lock may not be seen from here."""
NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.EBADF)
"""What file systems answer that cannot flush a folder: some network and user-space ones."""
NO_LINKS = (
    errno.EPERM,
    errno.EACCES,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EMLINK,
    errno.EXDEV,
)
"""What file systems answer that have no hard links: FAT, many user-space ones, and AFS between two folders."""

LOCK = ".lock"
"""In a folder of a file system without hard links: whose turn it is to give a file its name."""


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
    make_folder(path.parent)
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
        beside = path.with_name(f".{path.name}.{os.getpid()}.{HOST}{secrets.token_hex(4)}")
        try:
            with beside.open("xb") as sink:
                with suppress(OSError):  # no locks here: then nothing is taken for abandoned either
                    fcntl.flock(sink, fcntl.LOCK_EX)
                if not beside.exists():
                    continue  # it was taken for abandoned before it was locked
                yield beside, sink
                return
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise


def remove_abandoned(folder: Path) -> list[Path]:
    """Remove what killed writers left in a folder beside their files; what is still being written stays.

    Where the file system has no locks, nothing is known to be abandoned, and all stays. Some network file systems show a
    machine no other's locks: what another machine was writing has to be old, too.

    Returns:
        What was removed; nothing where the folder cannot be read, or there is none.
    """
    removed: list[Path] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for name, found in [(each.name, BESIDE.fullmatch(each.name)) for each in entries]:
            if found is None:
                continue
            # To be written to, too: NFS gives an exclusive lock to no other.
            with suppress(OSError), (folder / name).open("r+b") as left:
                fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
                age_s = time.time() - os.fstat(left.fileno()).st_mtime
                if found[1] != HOST and age_s < SURELY_OVER_S:
                    continue
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
    """Give a file, already flushed, a second name in one step; without hard links it is copied, as whole and as exclusively.

    Raises:
        FileExistsError: when something has that name.
        OSError: when the disk is full, read-only or gone, or the file system has neither hard links nor locks. After an error
            the target may be there, and is whole then.
    """
    reached("link", target)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _copy_in_turn(source, target)
        return
    reached("linked", target)
    flush_folder(target.parent)


def _copy_in_turn(source: Path, target: Path) -> None:
    """As `link`, where there are no hard links.

    Creating the file exclusively and then filling it would show half of it to readers, and leave that for ever where a process is
    killed. So it is renamed to its name when it is whole, and whoever does that alone holds a lock, which ends with its process.
    """
    with (target.parent / LOCK).open("ab") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
        except OSError as error:
            reason = f"its file system has neither hard links nor locks ({error.strerror})"
            raise OSError(error.errno, reason, str(target)) from None
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        write_whole(target, source.read_bytes())


def remove(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        OSError: when the disk is read-only or gone.
    """
    reached("remove", path)
    path.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder, and those on the way to it; what is made stays after a power cut.

    Raises:
        OSError: when the disk is full, read-only or gone, or something else has such a name.
    """
    missing = list(takewhile(lambda each: not each.exists(), (folder, *folder.parents)))
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        flush_folder(each.parent)


def flush_folder(folder: Path) -> None:
    """Have a folder's names on disk; file systems that cannot do that are left to do as they do.

    Raises:
        OSError: when the disk fails.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
