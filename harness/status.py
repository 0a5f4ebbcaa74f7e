"""What has become of an experiment's cells, as any process can see it from the work folder."""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness import files, result, sent
from harness import plan as planning
from harness.plan import Plan
from harness.workdir import Workdir
from tasks.cell import Cell

State = Literal["done", "running", "waiting", "failed", "missing"]
TAKEN_BACK = frozenset({"CANCELLED", "PREEMPTED", "TIMEOUT", "REVOKED", "DEADLINE"})
"""How SLURM calls jobs that ended through no fault of their cells."""
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


def look(
    plan: Plan, workdir: Workdir, places: Mapping[str, sent.Sent] | None = None
) -> list[CellStatus]:
    """The state of every cell of a plan.

    A cell is done (accepted result), running or waiting (a driver at work has it in hand, or a cluster), failed (its
    newest attempt raised or its worker died) or missing (never tried, or interrupted).

    Args:
        plan: the cells, and which are done.
        workdir: the work folder.
        places: where cells are that were sent to a cluster; None to ask SLURM, if any were.
    """
    if places is None:
        # First where cells are, then which are done: a result that comes in between is not taken for lost.
        places = sent.look(workdir) if plan.todo else {}
        plan = planning.refresh(plan, workdir)
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
        elif cell.key in places and sent.holds(workdir, cell.key, places[cell.key]):
            state = _on_cluster(workdir, cell, places[cell.key])
            detail = str(places[cell.key])
        else:
            error = result.failure(workdir, cell)
            state = "missing" if error is None else "failed"
            detail = error or plan.damaged.get(cell.key, "")
            place = places.get(cell.key)
            if place is not None and workdir.accepted(cell.key).exists():
                state, detail = "done", ""  # it came while SLURM was asked
            elif place is not None and error is None:
                # It ended without a word of its own; what SLURM says is all there is.
                died = place.told is not None and place.told.state not in TAKEN_BACK
                state = "failed" if died else "missing"
                detail = f"{place}; the next `harness run` sends it again"
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


def _on_cluster(workdir: Workdir, cell: Cell, place: sent.Sent) -> State:
    if place.waiting:
        return "waiting"
    # A running task has its cells one after the other: this one runs if its newest attempt was made there.
    tried = result.attempts(workdir, cell)
    return "running" if tried and sent.belongs(tried[-1], place.task) else "waiting"


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
