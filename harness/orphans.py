"""Workers whose driver was killed: they leave at a step boundary, and nobody gives out cells before they have.

A driver's workers inherit a lock on one file of the work folder, which lasts as long as any of them lives. The next
driver waits until it is free; those that do not leave in time are ended, as their own driver would have done.
"""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.workdir import Workdir, WorkdirBusy

NAME = ".workers"
PATIENCE_S = 20.0
"""Seconds that workers of a killed driver have to leave: as many as a driver gives its own."""
ENDING_S = 10.0
"""Seconds that killed processes may take to be gone."""
POLL_S = 0.1


@contextmanager
def held(workdir: Workdir) -> Iterator[tuple[int, ...]]:
    """Hold the lock; whoever inherits the open file holds it too, for as long as it lives.

    Yields:
        The open file; none where the file system has no locks.
    """
    # For reading, though nothing is read: NFS gives a shared lock to no one who cannot.
    with (workdir.root / NAME).open("a+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            yield ()
        else:
            yield (handle.fileno(),)


def wait(workdir: Workdir, say: Callable[[str], None], *, patience_s: float = PATIENCE_S) -> None:
    """See that no worker of an earlier driver is at work; the caller holds the work folder's lock.

    Args:
        workdir: the work folder.
        say: told in sentences what is waited for.
        patience_s: seconds that workers have to leave, before they are killed.

    Raises:
        WorkdirBusy: when some are there that cannot be ended from here, such as on another machine.
    """
    path = workdir.root / NAME
    if _are_gone(path, 0.0):
        return
    say(
        f"workers of a run that was killed are still at work in {workdir.root}: they leave at their next step, and are ended "
        f"if that takes more than {patience_s:.0f} s"
    )
    if _are_gone(path, patience_s):
        return
    found = _workers_with(path)
    for pid in found:
        say(f"worker {pid} did not leave: it is ended")
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    if not _are_gone(path, ENDING_S):
        raise WorkdirBusy(
            f"workers of a run that was killed are still at work in {workdir.root}, and cannot be ended from here: end them on "
            "their machine (`harness.work` is in their command line), or use another --workdir"
        )


def _are_gone(path: Path, patience_s: float) -> bool:
    """Whether nobody holds the lock, or nobody does within so many seconds."""
    deadline = time.monotonic() + patience_s
    with path.open("ab") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(POLL_S)
            except OSError:
                return True  # no locks here: then nobody holds one
            else:
                return True


def _workers_with(path: Path) -> list[int]:
    """Processes of this machine that are workers and have a file open; none where the system has no /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"harness.work" not in words or int(process.name) == os.getpid():
                continue
            if any(_is_same(each, path) for each in (process / "fd").iterdir()):
                found.append(int(process.name))
    return sorted(found)


def _is_same(handle: Path, path: Path) -> bool:
    try:
        return handle.samefile(path)
    except OSError:
        return False
