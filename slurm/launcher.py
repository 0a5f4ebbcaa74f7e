"""A launcher carries jobs to machines: this process, this machine, or (elsewhere) SLURM."""

from collections.abc import Callable, Sequence
from typing import Protocol

from slurm.job import Event, Interrupted, Job, by_priority, done_before, in_one_line

OnEvent = Callable[[Event], None]


class Launcher(Protocol):
    """What the harness asks of a launcher."""

    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> None:
        """Carry out all jobs, needs first, and report every event; returns when nothing is left to do.

        Raises:
            KeyboardInterrupt: when the user asked to stop; running jobs have left at a step boundary.
        """


class Inline:
    """Everything in this process, one job after the other; for debugging, and where no process may be started."""

    def __init__(self, carry_out: Callable[[str, OnEvent], None]) -> None:
        """Make a launcher.

        Args:
            carry_out: does one job by id; raises `Interrupted` to stop, any other exception to fail.
        """
        self._carry_out = carry_out

    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> None:
        """Carry out all jobs (see `Launcher.run`)."""
        done = done_before(jobs)
        waiting = by_priority(jobs)
        while waiting:
            job = next((each for each in waiting if done.issuperset(each.needs)), None)
            if job is None:
                break
            waiting.remove(job)
            on_event(Event(kind="started", job=job.id))
            try:
                self._carry_out(job.id, on_event)
            except Interrupted:
                raise KeyboardInterrupt from None
            except Exception as error:  # noqa: BLE001 - a job's error is an event, the others go on
                on_event(Event(kind="failed", job=job.id, detail=in_one_line(error)))
            else:
                done.add(job.id)
                on_event(Event(kind="done", job=job.id))
        for job in waiting:
            on_event(Event(kind="skipped", job=job.id, detail="a cell that it needs failed"))
