"""Results go to MLflow while a run follows: a thread of the driver, the one writer, and training never waits for it.

Whatever happens to it (a server that is down, a locked database), the run goes on, the results stay on disk, and
`harness collect` brings them home later.
"""

import queue
import sys
import threading
from collections.abc import Iterable, Iterator

from harness import result
from harness.result import Result
from harness.uri import first_line, place_of_store
from harness.workdir import Workdir
from tasks.cell import Cell

PATIENCE_S = 15.0
"""After so many seconds of waiting people are told of it."""
TOGETHER = 200
"""Cells whose results are handed on at once, where so many wait: writing them together is cheaper."""


class LiveGatherer:
    """Writes the results of cells to MLflow as they finish."""

    def __init__(self, name: str, title: str, workdir: Workdir) -> None:
        """Start the thread; MLflow is imported and opened there, when the first result comes."""
        self._name, self._title, self._workdir = name, title, workdir
        self._queue: queue.SimpleQueue[Cell | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True, name="mlflow")
        self.problem = ""
        """Why writing stopped, in one sentence; empty if it did not."""
        self._thread.start()

    def put(self, cell: Cell) -> None:
        """Hand over a finished cell; returns at once."""
        self._queue.put(cell)

    def finish(self, timeout: float) -> None:
        """Wait, no longer than `timeout` seconds, until everything handed over is written."""
        self._queue.put(None)
        self._thread.join(min(timeout, PATIENCE_S))
        if self._thread.is_alive() and timeout > PATIENCE_S:
            sys.stderr.write(
                f"harness: all results are there; MLflow at {place_of_store(self._workdir)} is waited for, for up to "
                f"{timeout:.0f} s (whoever ends this loses nothing: `harness collect` goes on with it later)\n"
            )
            self._thread.join(timeout - PATIENCE_S)
        if self._thread.is_alive() and not self.problem:
            self.problem = f"MLflow did not answer within {timeout:.0f} s"

    def _work(self) -> None:
        try:
            first = self._queue.get()
            if first is None:
                return
            from harness.store import Store  # in this thread: workers are already starting

            store = Store(self._workdir, self._name)
            parent = store.open_parent(self._title)
            waiting: list[Cell] | None = [first]
            while waiting is not None:
                store.put(_results(waiting, self._workdir), parent)
                waiting = self._next()
        except Exception as error:  # noqa: BLE001 - results are on disk; a broken store must not end the run
            self.problem = (
                f"MLflow could not be written ({type(error).__name__}: {first_line(error)})"
            )

    def _next(self) -> list[Cell] | None:
        """Wait for a cell, and take with it those that came meanwhile; None when there will be no more."""
        cell = self._queue.get()
        taken: list[Cell] = []
        while cell is not None:
            taken.append(cell)
            if self._queue.empty() or len(taken) == TOGETHER:
                return taken
            cell = self._queue.get()
        self._queue.put(None)  # for the next time
        return taken or None


def _results(cells: Iterable[Cell], workdir: Workdir) -> Iterator[tuple[Cell, Result]]:
    for cell in dict.fromkeys(cells):
        found = result.read(workdir, cell)
        if found is not None:
            yield cell, found
