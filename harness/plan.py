"""What an experiment still lacks: its cells, each once, needs first, against the accepted results on disk."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from configs.experiment import Experiment
from harness import result
from harness.workdir import Workdir
from tasks.cell import Cell
from tasks.task import TrainsTogether

TOGETHER_ON_GPU = 10
"""Cells that a worker trains together on a GPU, at most, where nobody says otherwise: the paper's resamples."""
TOGETHER_ON_CPU = 1
"""The same on a CPU (docs/performance.md)."""


def most_together(asked: int | None, *, gpus: bool) -> int:
    """How many cells a worker trains together, at most: what was asked for, or what pays."""
    return asked or (TOGETHER_ON_GPU if gpus else TOGETHER_ON_CPU)


def kind_together(cell: Cell) -> str:
    """Equal for cells that can be trained together; empty for one that never can."""
    return cell.task.together() if isinstance(cell.task, TrainsTogether) else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The cells of an experiment, sorted by whether they are answered."""

    cells: tuple[Cell, ...]
    """All, each after the cells it needs."""
    done: Mapping[str, result.Result]
    """Accepted results by key."""
    damaged: Mapping[str, str]
    """Why a result is not believed, by key; these cells count as not done."""
    parts: Mapping[str, tuple[Cell, ...]] = field(default_factory=dict)
    """The cells of each part of an experiment that consists of several, by name, as that part calls them."""

    @property
    def todo(self) -> tuple[Cell, ...]:
        """Cells without an accepted result, needs first."""
        return tuple(cell for cell in self.cells if cell.key not in self.done)

    def part(self, name: str) -> "Plan":
        """What this plan says of the cells of one part."""
        cells = self.parts[name]
        keys = {cell.key for cell in cells}
        return Plan(
            cells=cells,
            done={key: found for key, found in self.done.items() if key in keys},
            damaged={key: reason for key, reason in self.damaged.items() if key in keys},
        )

    def shared(self) -> set[str]:
        """Keys of cells that more than one part needs."""
        times = Counter(cell.key for cells in self.parts.values() for cell in cells)
        return {key for key, number in times.items() if number > 1}

    def by_task(self) -> list[tuple[str, int, int, float]]:
        """(task, cells, of which to do, GFLOP to do) for every kind of task."""
        total = Counter(type(cell.task).__name__ for cell in self.cells)
        todo: Counter[str] = Counter()
        cost: defaultdict[str, float] = defaultdict(float)
        for cell in self.todo:
            name = type(cell.task).__name__
            todo[name] += 1
            cost[name] += cell.task.gflop()
        return [(name, count, todo[name], cost[name]) for name, count in total.items()]


def stale(plan: Plan, workdir: Workdir) -> dict[str, str]:
    """Cells to do for which there is a result that does not count, and why, by key.

    Either it cannot be believed (`Plan.damaged`), or it answers the same question under another identity, such as that of an
    earlier version of its task.
    """
    found = dict(plan.damaged)
    known = {cell.short for cell in plan.cells}
    asked = {
        _question(type(cell.task).__name__, cell.task.values(), cell.seed): cell
        for cell in plan.todo
        if cell.key
        not in found  # one reason is enough, and such a task may not know its values any more
    }
    for path in sorted(workdir.runs.glob(f"*/{result.NAME}")):
        if path.parent.name in known:
            continue
        try:
            body = json.loads(path.read_bytes())
            cell = asked.get(_question(body["task"], body["values"], body["seed"]))
            before = body["description"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # nobody needs it
        if cell is not None:
            difference = _difference(before, cell.description())
            found.setdefault(cell.key, f"cell {cell.short} was last done as {path.parent.name}: {difference}")  # fmt: skip
    return found


def _question(task: str, values: Mapping[str, Any], seed: int) -> str:
    return json.dumps([task, dict(values), seed], sort_keys=True)


def _difference(before: Any, now: Any, place: str = "") -> str:
    """The first place at which two descriptions differ, in words."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                inside = f"{place}.{name}" if place else name
                return _difference(before.get(name), now.get(name), inside)
    if place == "needs":
        return "what it needs has changed"
    return f"{place} was {json.dumps(before)[:60]} and is {json.dumps(now)[:60]}"


def refresh(plan: Plan, workdir: Workdir) -> Plan:
    """The same plan with the results that came since; what was done is not read again."""
    done = dict(plan.done)
    for cell in plan.todo:
        try:
            found = result.read(workdir, cell)
        except result.DamagedResult:
            continue
        if found is not None:
            done[cell.key] = found
    return replace(plan, done=done)


def take_up(cell: Cell, workdir: Workdir) -> bool:
    """Accept an attempt that was sealed but never accepted, because its process was killed in between.

    Every file of it is held against its checksum, and it has to rest on the weights that the cells it needs have now.

    Returns:
        Whether there was such an attempt: the cell is done.
    """
    if workdir.accepted(cell.key).exists():
        return False
    for attempt in result.attempts(workdir, cell):
        found = result.read_attempt(workdir, cell.key, attempt)
        if found is None or _lost(cell):
            continue
        try:
            needs = {need.key: result.read(workdir, need) for need in cell.needs}
        except result.DamagedResult:
            return False
        done = {key: each for key, each in needs.items() if each is not None}
        if len(done) < len(needs) or any(
            _rests_on_another(found, need, done) for need in cell.needs
        ):
            continue
        if result.accept(attempt):
            return True
    return False


def make(experiment: Experiment, workdir: Workdir) -> Plan:
    """Hold an experiment against a work folder; reads, changes nothing."""
    parts = {name: part.all_cells() for name, part in experiment.parts.items()}
    return replace(of_cells(experiment.all_cells(), workdir), parts=parts)


def of_cells(
    cells: tuple[Cell, ...],
    workdir: Workdir,
    *,
    verify: bool = False,
    on_cell: Callable[[], None] = lambda: None,
) -> Plan:
    """The same for cells of any experiment.

    Args:
        cells: each after the cells it needs.
        workdir: the work folder.
        verify: read every file of every result and check its sha256, not its size alone.
        on_cell: called before each cell.
    """
    done: dict[str, result.Result] = {}
    damaged: dict[str, str] = {}
    for cell in cells:  # needs come first
        on_cell()
        try:
            found = result.read(workdir, cell, verify=verify)
        except result.DamagedResult as error:
            damaged[cell.key] = str(error)
            continue
        if found is None:
            continue
        lost = _lost(cell)
        if lost:
            damaged[cell.key] = f"cell {cell.short} has lost what it made: {lost}"
            continue
        other = [need.short for need in cell.needs if _rests_on_another(found, need, done)]
        if other:
            damaged[cell.key] = (
                f"cell {cell.short} was computed from other weights than cell {other[0]} has now"
            )
        else:
            done[cell.key] = found
    return Plan(cells=cells, done=done, damaged=damaged)


def _lost(cell: Cell) -> str:
    """Why what a cell left outside its run's folder does not count; that it cannot be known any more is a reason, too."""
    try:
        return cell.task.lost()
    except ValueError as error:
        return str(error)


def _rests_on_another(found: result.Result, need: Cell, done: Mapping[str, result.Result]) -> bool:
    """Whether a needed cell was done again since, and came out otherwise."""
    return need.key in done and found.body["rests_on"].get(need.key) != done[need.key].weights()
