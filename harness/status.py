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
TAKEN_BACK = frozenset(
    {"CANCELLED", "PREEMPTED", "TIMEOUT", "REVOKED", "DEADLINE", "NODE_FAIL", "BOOT_FAIL"}
)
"""How SLURM calls jobs that ended through no fault of their cells."""
AGAIN = "the next `harness run` sends it again"
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
    """Why it is in that state, where it is, and what will happen next, in one sentence."""
    place: sent.Sent | None = None
    """Its newest job on a cluster, if it was ever sent and has no result."""


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
    running, waiting = in_hand(workdir) if workdir.is_driven() else (set(), set())
    found: dict[str, CellStatus] = {}
    for cell in plan.cells:  # each after those it needs
        place = places.get(cell.key)
        state: State
        detail = ""
        if cell.key in plan.done:
            state, detail = "done", remark(plan.done[cell.key])
        elif cell.key in running:
            state = "running"
        elif cell.key in waiting:
            state = "waiting"
        elif place is not None and sent.holds(workdir, cell.key, place):
            state = _on_cluster(workdir, cell, place)
            detail = f"{place}{_words(place)}{_next(place)}"
        elif place is not None and workdir.accepted(cell.key).exists():
            state = "done"  # it came while SLURM was asked
        else:
            failed = [need for need in cell.needs if found[need.key].state == "failed"]
            state, detail = _at_rest(plan, workdir, cell, place, failed)
        found[cell.key] = CellStatus(
            key=cell.key,
            task=type(cell.task).__name__,
            label=cell.label,
            state=state,
            values=cell.task.values(),
            detail=detail,
            place=None if state == "done" else place,
        )
    return list(found.values())


def remark(done: result.Result) -> str:
    """What to know of how a result came about: that newer checkpoints than the one gone on from were no good. Else empty."""
    passed = done.body.get("provenance", {}).get("passed_over", ())
    if not passed:
        return ""
    step = done.body["usage"]["resumed_from_step"]
    return f"{'; '.join(passed)}; training {f'went on from step {step}' if step else 'began anew'}"


def _at_rest(
    plan: Plan, workdir: Workdir, cell: Cell, place: sent.Sent | None, failed: list[Cell]
) -> tuple[State, str]:
    """State and reason of a cell that nobody has in hand and that has no result."""
    error = result.failure(workdir, cell)
    if error is not None and place is not None:
        tried = result.attempts(workdir, cell)
        if not sent.belongs(tried[-1], place.task):
            error = None  # of an attempt before: what became of the newest job is what counts
    if error is not None:
        if place is None:
            return "failed", error
        advice = f"; give it more memory (memory_gb), then {AGAIN}" if _lacked_memory(place) else ""
        return "failed", f"{error} ({place}){advice}"
    if cell.key in plan.damaged:
        return "missing", plan.damaged[cell.key]
    where = f"{place}: " if place is not None else ""
    if failed:
        return (
            "missing",
            f"{where}it needs cell {failed[0].short}, which failed: mend that, then {AGAIN}",
        )
    if place is None:
        return "missing", ""
    if place.left:
        return (
            "missing",
            f"{place}: it saved and left when it was asked to; the next `harness run` continues from there",
        )
    # It ended without a word of its own; what SLURM and the job's log say is all there is.
    died = place.told is not None and place.told.state not in TAKEN_BACK
    advice = "give it more memory (memory_gb), then " if _lacked_memory(place) else ""
    return "failed" if died else "missing", f"{place}{_words(place)}; {advice}{AGAIN}"


def _words(place: sent.Sent) -> str:
    words = place.last_words
    return f", whose log ends with '{words}'" if words else ""


def _next(place: sent.Sent) -> str:
    """What SLURM will do with a job that queues or runs."""
    told = place.told
    if told is None or not told.live:
        return ""
    if told.state == "SUSPENDED":
        return "; it goes on when SLURM resumes it"
    if told.waiting and told.reason == "Dependency":
        return "; it starts when the cells that it needs are done"
    if told.waiting and told.reason == "BeginTime":
        return "; SLURM runs it again in a moment, and it continues from its checkpoint"
    if told.waiting and told.reason.startswith("JobHeld"):
        return "; it waits until somebody releases it (`scontrol release`)"
    return ""


def _lacked_memory(place: sent.Sent) -> bool:
    state = place.told.state if place.told else ""
    words = place.last_words.lower()
    return state == "OUT_OF_MEMORY" or "oom" in words or "memory limit" in words


def _on_cluster(workdir: Workdir, cell: Cell, place: sent.Sent) -> State:
    if place.waiting:
        return "waiting"
    # A running task has its cells one after the other: this one runs if its newest attempt was made there.
    tried = result.attempts(workdir, cell)
    return "running" if tried and sent.belongs(tried[-1], place.task) else "waiting"


def content(each: CellStatus) -> dict[str, Any]:
    """As plain JSON."""
    told: dict[str, Any] = {
        "cell": each.key[:16],
        "task": each.task,
        "method": each.label,
        "state": each.state,
        "detail": each.detail,
    }
    if each.place is not None:
        job = each.place.told
        told["job"] = {
            "id": each.place.task,
            "state": job.state if job else "",
            "node": job.node if job else "",
            "reason": job.reason if job else "",
            "exit": job.exit if job else "",
            "log": str(each.place.log or ""),
        }
    return told


def count(found: list[CellStatus]) -> dict[str, int]:
    """Cells by state; the states add up to `total`."""
    counted = Counter(each.state for each in found)
    return {"total": len(found), **{state: counted[state] for state in STATES}}


def in_hand(workdir: Workdir) -> tuple[set[str], set[str]]:
    """Keys that the driver at work says run and wait; they mean nothing when none is at work."""
    try:
        content = json.loads(workdir.driver.read_bytes())
        return set(content["running"]), set(content["waiting"])
    except (OSError, ValueError, KeyError, TypeError):
        return set(), set()
