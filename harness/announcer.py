"""Says beside a run which cells it has in hand, for `harness status`: a thread, and the run never waits for the disk.

Whatever happens in between two writes is told by the second alone, so that a run of many short cells does not spend its time
on writing down how many are left.
"""

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from harness import status
from harness.workdir import Workdir
from tasks.data import writing

EVERY_S = 0.2
"""Seconds between two writes, at least."""
SHARE = 0.02
"""Of its time that a run's announcer writes, at most: lists of 10,000 cells take longer."""


class Announcer:
    """Keeps `driver.json` up to date until it is closed; a failure to write ends it, and nothing else."""

    def __init__(
        self,
        workdir: Workdir,
        in_hand: Callable[[], tuple[Collection[str], Collection[str]]],
        *,
        every_s: float = EVERY_S,
    ) -> None:
        """Write the file once, and start the thread.

        Args:
            workdir: the work folder.
            in_hand: the keys of the cells that run and of those that wait; asked from the thread.
            every_s: seconds between two writes, at least.

        Raises:
            OSError: when the first writing fails.
        """
        self._workdir, self._in_hand, self._every_s = workdir, in_hand, every_s
        self._changed, self._closed = threading.Event(), threading.Event()
        took_s = self._write()
        self._thread = threading.Thread(
            target=self._work, args=(took_s,), daemon=True, name="announcer"
        )
        self._thread.start()

    def changed(self) -> None:
        """Have the file written again soon; returns at once."""
        self._changed.set()

    def close(self) -> None:
        """Write no more; the file is gone."""
        self._closed.set()
        self._changed.set()
        self._thread.join()
        with suppress(OSError):  # of a disk that fails: it means nothing where no driver is at work
            writing.remove(self._workdir.driver)

    def _work(self, took_s: float) -> None:
        while not self._closed.wait(max(self._every_s, took_s / SHARE)):
            self._changed.wait()
            self._changed.clear()
            if self._closed.is_set():
                return
            try:
                took_s = self._write()
            except OSError:
                return  # a full disk: what is left tells what was; cells meet it, too, and say so

    def _write(self) -> float:
        """Write; how long it took, in seconds."""
        began = time.monotonic()
        running, waiting = self._in_hand()
        status.announce(self._workdir, running=running, waiting=waiting)
        return time.monotonic() - began
