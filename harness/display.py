"""What a person sees while cells run: done, running, waiting, failed, elapsed, time left. On stderr, always.

On a terminal a live panel; elsewhere a plain line now and then.
"""

import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from slurm.job import Event
from tasks.cell import Cell

PLAIN_EVERY_S = 10.0
SHOWN_RUNNING = 8


@dataclass(slots=True)
class _Kind:
    """What is known of the cells of one kind of task."""

    cells: int = 0
    """That were finished."""
    gflop: float = 0.0
    """Of these."""
    seconds: float = 0.0
    """That they took."""
    waiting: int = 0
    waiting_gflop: float = 0.0

    @property
    def mean_s(self) -> float:
        """Seconds of a finished cell; there must be one."""
        return self.seconds / self.cells

    def finished(self, gflop: float, seconds: float) -> None:
        """Count a finished cell."""
        self.cells, self.gflop, self.seconds = (
            self.cells + 1,
            self.gflop + gflop,
            self.seconds + seconds,
        )

    def waits(self, gflop: float) -> None:
        """Count a cell that waits."""
        self.waiting, self.waiting_gflop = self.waiting + 1, self.waiting_gflop + gflop

    def waits_no_more(self, gflop: float) -> None:
        """Count it no longer."""
        self.waiting, self.waiting_gflop = self.waiting - 1, self.waiting_gflop - gflop


class Display:
    """Follows events and shows them; a context manager."""

    def __init__(self, title: str, cells: Sequence[Cell], already: int, slots: int) -> None:
        """Make a display of cells to run.

        Args:
            title: what is run.
            cells: the cells to run.
            already: cells that were done before.
            slots: how many run at the same time.
        """
        # A descriptor of its own: a cell that runs in this process has stderr turned into its log.
        self._stream = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
        self._console = Console(file=self._stream)
        self._title, self._already, self._slots = title, already, slots
        self._cells = {cell.key: cell for cell in cells}
        self._gflop = {cell.key: cell.task.gflop() for cell in cells}
        self._waiting = set(self._cells)
        self._running: dict[str, tuple[float, int, int]] = {}
        self._done: set[str] = set()
        self._failed: dict[str, str] = {}
        # What is known of finished cells and of waiting ones by kind of task, so that telling the time left takes as long
        # for ten thousand cells as for ten.
        self._kinds: defaultdict[str, _Kind] = defaultdict(_Kind)
        for cell in cells:
            self._kinds[type(cell.task).__name__].waits(self._gflop[cell.key])
        self._began = time.monotonic()
        self._last_line = 0.0
        self._live = Live(
            get_renderable=self._panel, console=self._console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
        self._console.print(self._line(), highlight=False, soft_wrap=True)
        self._stream.close()

    @property
    def running(self) -> set[str]:
        """Keys of the cells that run."""
        return set(self._running)

    @property
    def waiting(self) -> set[str]:
        """Keys of the cells that wait."""
        return set(self._waiting)

    @property
    def failed(self) -> dict[str, str]:
        """Why cells failed, by key."""
        return dict(self._failed)

    def on_event(self, event: Event) -> None:
        """Take note of an event."""
        cell = self._cells[event.job]
        if event.kind == "started":
            self._leave_waiting(event.job)
            self._running[event.job] = (time.monotonic(), 0, 1)
        elif event.kind == "step" and event.job in self._running:
            self._running[event.job] = (self._running[event.job][0], event.step, event.steps)
        elif event.kind == "lost":
            self._running.pop(event.job, None)
            self._enter_waiting(event.job)
            self._say(f"cell {cell.short} is tried again: {event.detail}")
        elif event.kind == "done":
            began, _, _ = self._running.pop(event.job, (time.monotonic(), 0, 1))
            self._kind(event.job).finished(self._gflop[event.job], time.monotonic() - began)
            self._done.add(event.job)
        elif event.kind in ("failed", "skipped"):
            self._running.pop(event.job, None)
            self._leave_waiting(event.job)
            self._failed[event.job] = event.detail
            if event.kind == "failed":
                self._say(f"cell {cell.short} failed: {event.detail} (harness logs {cell.short})")
        if not self._console.is_terminal and time.monotonic() - self._last_line > PLAIN_EVERY_S:
            self._last_line = time.monotonic()
            self._say(self._line())

    def _kind(self, key: str) -> "_Kind":
        return self._kinds[type(self._cells[key].task).__name__]

    def _leave_waiting(self, key: str) -> None:
        if key in self._waiting:
            self._waiting.remove(key)
            self._kind(key).waits_no_more(self._gflop[key])

    def _enter_waiting(self, key: str) -> None:
        if key not in self._waiting:
            self._waiting.add(key)
            self._kind(key).waits(self._gflop[key])

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self._stream.flush()

    def _line(self) -> str:
        total = self._already + len(self._cells)
        parts = [f"{self._title}: {self._already + len(self._done)} of {total} cells done"]
        parts += [
            f"{len(self._running)} running",
            f"{len(self._waiting)} waiting",
            f"{len(self._failed)} failed",
        ]
        parts.append(f"{_clock(time.monotonic() - self._began)} elapsed")
        left = self._time_left()
        if left is not None and (self._running or self._waiting):
            parts.append(f"about {_clock(left)} left")
        return ", ".join(parts)

    def _time_left(self) -> float | None:
        """Seconds to go: finished cells of the same kind say how long one takes, else its cost does."""
        now = time.monotonic()
        # GFLOP/s, a number for every finished cell and every one under way.
        rates = [kind.gflop / max(1e-3, kind.mean_s) for kind in self._kinds.values() if kind.cells]
        num_rates = sum(kind.cells for kind in self._kinds.values())
        for key, (began, step, steps) in self._running.items():
            if step:
                rates.append(self._gflop[key] * step / steps / max(1e-3, now - began))
                num_rates += 1
        if not num_rates:
            return None
        rate = sum(rates) / num_rates

        def expected(key: str) -> float:
            kind = self._kind(key)
            return kind.mean_s if kind.cells else self._gflop[key] / rate

        remains = sum(
            kind.waiting * kind.mean_s if kind.cells else kind.waiting_gflop / rate
            for kind in self._kinds.values()
        )
        longest = 0.0
        for key, (began, step, steps) in self._running.items():
            left = (
                (now - began) * (steps - step) / step
                if step
                else max(0.0, expected(key) - (now - began))
            )
            remains += left
            longest = max(longest, left)
        # Cells that are trained together run side by side in one slot.
        return max(longest, remains / max(self._slots, len(self._running)))

    def _panel(self) -> Group:
        total = self._already + len(self._cells)
        done = self._already + len(self._done)
        head = Table.grid(padding=(0, 2))
        left = self._time_left()
        head.add_row(
            Text(self._title, style="bold"),
            ProgressBar(total=max(1, total), completed=done, width=30),
            Text(f"{done}/{total} done", style="green"),
            Text(f"{len(self._running)} running", style="cyan"),
            Text(f"{len(self._waiting)} waiting"),
            Text(f"{len(self._failed)} failed", style="red" if self._failed else ""),
            Text(f"{_clock(time.monotonic() - self._began)} elapsed"),
            Text(f"about {_clock(left)} left" if left is not None else "time left: measuring"),
        )
        body = Table.grid(padding=(0, 2))
        for key, (began, step, steps) in list(self._running.items())[:SHOWN_RUNNING]:
            cell = self._cells[key]
            values = cell.task.values()
            where = (
                f"{values['shots']}/class #{values['resample']}"
                if "resample" in values
                else str(values.get("model", ""))
            )
            body.add_row(
                Text(f"  {cell.short}", style="dim"),
                Text(cell.label or type(cell.task).__name__),
                Text(where),
                Text(f"step {step}/{steps}" if step else "starting"),
                Text(_clock(time.monotonic() - began), style="dim"),
            )
        if len(self._running) > SHOWN_RUNNING:
            body.add_row(Text(f"  and {len(self._running) - SHOWN_RUNNING} more", style="dim"))
        return Group(head, body)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
