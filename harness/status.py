"""What has become of an experiment's cells, as any process can see it from the work folder."""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from harness import files, result
from harness.plan import Plan
from harness.workdir import Workdir

State = Literal["done", "running", "waiting", "failed", "missing"]
STATES: tuple[State, ...] = ("done", "running", "waiting", "failed", "missing")


@dataclass(frozen=True, kw_only=True, slots=True)
class CellStatus:
    """One cell's state."""

    key: str
    task: str
    label: str
    state: State
    values: dict[str, Any]
    detail: str = ""


def announce(workdir: Workdir, *, running: Collection[str], waiting: Collection[str]) -> None:
    """Say which cells the driver has in hand; read by `look` while the driver holds the lock."""
    files.write_json(workdir.driver, {"running": sorted(running), "waiting": sorted(waiting)})


def look(plan: Plan, workdir: Workdir) -> list[CellStatus]:
    """The state of every cell of a plan.

    A cell is done (accepted result), running or waiting (a driver at work has it in hand), failed (its newest
    attempt raised or its worker died) or missing (never tried, or interrupted).
    """
    running, waiting = _in_hand(workdir) if workdir.is_driven() else (set(), set())
    found = []
    for cell in plan.cells:
        state: State
        detail = ""
        if cell.key in plan.done:
            state = "done"
        elif cell.key in running:
            state = "running"
        elif cell.key in waiting:
            state = "waiting"
        else:
            error = result.failure(workdir, cell)
            state = "missing" if error is None else "failed"
            detail = error or plan.damaged.get(cell.key, "")
        name = type(cell.task).__name__
        found.append(
            CellStatus(
                key=cell.key,
                task=name,
                label=cell.label,
                state=state,
                values=cell.task.values(),
                detail=detail,
            )
        )
    return found


def count(found: list[CellStatus]) -> dict[str, int]:
    """Cells by state; the states add up to `total`."""
    counted = Counter(each.state for each in found)
    return {"total": len(found), **{state: counted[state] for state in STATES}}


def _in_hand(workdir: Workdir) -> tuple[set[str], set[str]]:
    try:
        content = json.loads(workdir.driver.read_bytes())
        return set(content["running"]), set(content["waiting"])
    except (OSError, ValueError, KeyError, TypeError):
        return set(), set()
