"""The time left, held against the rule computed the long way round: cell by cell."""

from collections import defaultdict

import pytest

from configs.fig12 import fig12
from harness import display as shown
from harness.display import Display
from slurm.job import Event
from tasks.cell import Cell

SLOTS = 2


class Clock:
    """In place of the module time: moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class CellByCell:
    """The same rule, which every finished and every waiting cell is asked for anew."""

    def __init__(self, cells: tuple[Cell, ...]) -> None:
        self.cells = {cell.key: cell for cell in cells}
        self.waiting = list(self.cells)
        self.running: dict[str, tuple[float, int, int]] = {}
        self.took: list[tuple[str, float]] = []

    def left(self, now: float) -> float | None:
        gflop = {key: cell.task.gflop() for key, cell in self.cells.items()}
        kind = {key: type(cell.task).__name__ for key, cell in self.cells.items()}
        by_kind = defaultdict(list)
        for key, seconds in self.took:
            by_kind[kind[key]].append(seconds)
        mean = {name: sum(each) / len(each) for name, each in by_kind.items()}
        rates = [gflop[key] / mean[kind[key]] for key, _ in self.took]
        rates += [
            gflop[key] * step / steps / (now - began)
            for key, (began, step, steps) in self.running.items()
            if step
        ]
        if not rates:
            return None
        rate = sum(rates) / len(rates)

        def expected(key: str) -> float:
            return mean.get(kind[key], gflop[key] / rate)

        running = [
            (now - began) * (steps - step) / step
            if step
            else max(0.0, expected(key) - (now - began))
            for key, (began, step, steps) in self.running.items()
        ]
        return max([*running, (sum(expected(key) for key in self.waiting) + sum(running)) / SLOTS])


def test_the_time_left_is_the_same_as_asked_cell_by_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(shown, "time", clock)
    cells = fig12(shots=(1, 2), resamples=3).all_cells()
    with Display("t", cells, 0, SLOTS) as display:
        follow(display, CellByCell(cells), clock)


def follow(display: Display, slow: CellByCell, clock: Clock) -> None:
    assert display._time_left() is None

    def tell(kind: str, key: str, step: int = 0) -> None:
        display.on_event(Event(kind=kind, job=key, step=step, steps=10))  # type: ignore[arg-type]

    keys = list(slow.cells)
    for number, key in enumerate(keys[:-2]):
        tell("started", key)
        slow.waiting.remove(key)
        slow.running[key] = (clock.now, 0, 1)
        clock.now += 1 + number % 3
        tell("step", key, 4)
        slow.running[key] = (slow.running[key][0], 4, 10)
        assert display._time_left() == pytest.approx(slow.left(clock.now))
        if number % 5 == 3:
            tell("lost", key)
            tell("started", key)
            slow.running[key] = (clock.now, 0, 1)
            assert display._time_left() == pytest.approx(slow.left(clock.now))
        clock.now += 2.5
        began, _, _ = slow.running.pop(key)
        if number % 5 == 4:
            tell("failed", key)
        else:
            tell("done", key)
            slow.took.append((key, clock.now - began))
        assert display._time_left() == pytest.approx(slow.left(clock.now))
    tell("skipped", keys[-1])
    slow.waiting.remove(keys[-1])
    assert display._time_left() == pytest.approx(slow.left(clock.now))


def test_cells_that_train_together_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 equal cells, ten at a time in one slot, ten have taken 200 s: after half of the second ten's, 100 s are left."""
    clock = Clock()
    monkeypatch.setattr(shown, "time", clock)
    cells = tuple(cell for cell in fig12().cells if type(cell.task).__name__ == "FewShot")[:20]
    with Display("fig12", cells, 0, 1) as display:
        for first in (0, 10):
            for cell in cells[first : first + 10]:
                display.on_event(Event(kind="started", job=cell.key))
            clock.now += 100.0
            for cell in cells[first : first + 10]:
                display.on_event(Event(kind="step", job=cell.key, step=5, steps=10))
            if first:
                break
            clock.now += 100.0
            for cell in cells[:10]:
                display.on_event(Event(kind="done", job=cell.key))
        left = display._time_left()
        assert left is not None
        assert left == pytest.approx(100.0, rel=0.05)
