"""Results go to MLflow while a run follows: a thread of the driver, the one writer, and training never waits for it.

Whatever happens to it (a server that is down, a locked database), the run goes on, the results stay on disk, and
`harness collect` brings them home later.
"""

import queue
import threading

from harness import result
from harness.uri import first_line
from harness.workdir import Workdir
from tasks.cell import Cell


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
        self._thread.join(timeout)
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
            cell: Cell | None = first
            while cell is not None:
                found = result.read(self._workdir, cell)
                if found is not None:
                    store.put(cell, found, parent)
                cell = self._queue.get()
        except Exception as error:  # noqa: BLE001 - results are on disk; a broken store must not end the run
            self.problem = (
                f"MLflow could not be written ({type(error).__name__}: {first_line(error)})"
            )
