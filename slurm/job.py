"""Jobs, and what becomes of them: plain values that every launcher speaks."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One thing to carry out, known to the launcher by its id alone."""

    id: str
    needs: tuple[str, ...] = ()
    """Ids of jobs that must be done before."""
    ranks: int = 1
    """Processes that carry it out together."""
    nodes: int = 1
    """Machines that the processes are spread over evenly; one machine is all that the local launchers have."""
    cost: float = 1.0
    """Expected cost, in any unit: the costliest chain of needs goes first."""
    together: str = ""
    """Jobs of one rank with the same text here may be given to a worker together; empty: with no other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What happened to a job."""

    kind: Literal["started", "step", "alive", "done", "failed", "lost", "skipped"]
    """alive: a process goes on with what it has in hand, which launchers keep to themselves; lost: its worker died and it is
    tried again; skipped: a job that it needs failed."""
    job: str
    detail: str = ""
    """One line for people: the error, or how the worker died."""
    step: int = 0
    steps: int = 0


def signal_name(number: int) -> str:
    """A signal's name; of one that has none, such as most real-time signals, its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Interrupted(Exception):
    """A stop was asked for; the work left at a step boundary and can be taken up again."""


def in_one_line(error: Exception) -> str:
    """An error's kind, the first line of what it says, and what was noted about it."""
    lines = str(error).strip().splitlines() or [""]
    return "; ".join([f"{type(error).__name__}: {lines[0]}", *getattr(error, "__notes__", ())])


def by_priority(jobs: Sequence[Job]) -> list[Job]:
    """Order jobs so that the costliest chain of needs starts first; ties keep their order."""
    followers: dict[str, list[Job]] = {job.id: [] for job in jobs}
    for job in jobs:
        for need in job.needs:
            if need in followers:
                followers[need].append(job)
    chain: dict[str, float] = {}

    def length(job: Job) -> float:
        if job.id not in chain:
            chain[job.id] = job.cost + max(
                (length(each) for each in followers[job.id]), default=0.0
            )
        return chain[job.id]

    return sorted(jobs, key=lambda job: -length(job))


def done_before(jobs: Sequence[Job]) -> set[str]:
    """Needs that are no jobs of this call: they were done before."""
    ours = {job.id for job in jobs}
    return {need for job in jobs for need in job.needs} - ours
