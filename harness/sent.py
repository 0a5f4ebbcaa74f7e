"""Where the cells are that were sent to a cluster, as SLURM tells it now."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import submission
from harness.result import FAILURE
from harness.submission import Submission
from harness.workdir import Workdir
from slurm import queue
from slurm.queue import Told


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A cell's place on a cluster."""

    task: str
    """SLURM's id of the array task."""
    told: Told | None = None
    """What SLURM said of it; None where it has forgotten it, or never knew it."""
    no_answer: str = ""
    """Why SLURM could not be asked; empty if it could."""

    @property
    def live(self) -> bool:
        """Whether it queues or runs, or may do so for all that is known."""
        return bool(self.no_answer) or (self.told is not None and self.told.live)

    @property
    def waiting(self) -> bool:
        """Whether it queues."""
        return bool(self.no_answer) or (self.told is not None and self.told.waiting)

    def __str__(self) -> str:
        """In words."""
        if self.no_answer:
            return f"job {self.task}; SLURM could not be asked ({self.no_answer})"
        if self.told is None:
            return f"job {self.task} is over and forgotten"
        where = f" on {self.told.node}" if self.told.node else ""
        why = f" ({self.told.reason})" if self.told.reason else ""
        return f"job {self.task} {self.told.state}{where}{why}"


def look(workdir: Workdir) -> dict[str, Sent]:
    """Every cell that was ever sent from a work folder and has no result yet, by key; its live job, or else its last."""
    submissions = submission.read_all(workdir)
    open_cells = {
        each.folder: {key: task for key, task in each.cells.items() if not _answered(workdir, key)}
        for each in submissions
    }
    submissions = [each for each in submissions if open_cells[each.folder]]
    if not submissions:
        return {}
    try:
        told = queue.queued({each.job_name for each in submissions})
    except queue.NoAnswer as error:
        return {
            key: Sent(task=task, no_answer=str(error))
            for each in submissions
            for key, task in open_cells[each.folder].items()
        }
    found: dict[str, Sent] = {}
    for each in submissions:
        ours = _of(each, told)
        forgotten = {task for task in open_cells[each.folder].values() if task not in ours}
        ours.update(queue.remembered(forgotten, each.job_name))
        for key, task in open_cells[each.folder].items():
            if key not in found or not found[key].live:
                found[key] = Sent(task=task, told=ours.get(task))
    return found


def live_jobs(workdir: Workdir, experiment: str) -> dict[Path, set[str]]:
    """Ids of an experiment's jobs that queue or run, by the submission's folder.

    Raises:
        slurm.queue.NoAnswer: when SLURM cannot be asked.
    """
    submissions = [each for each in submission.read_all(workdir) if each.experiment == experiment]
    if not submissions:
        return {}
    told = queue.queued({each.job_name for each in submissions})
    live = {}
    for each in submissions:
        tasks = {task for task, told_of in _of(each, told).items() if told_of.live}
        if tasks:
            live[each.folder] = tasks
    return live


def holds(workdir: Workdir, key: str, place: Sent) -> bool:
    """Whether a cell still queues or runs there: a task that goes on may be through with it, in vain."""
    if not place.live:
        return False
    tried = sorted(workdir.accepted(key).parent.glob("attempt-*"))
    failed_there = tried and (tried[-1] / FAILURE).exists() and belongs(tried[-1], place.task)
    return not (failed_there and not place.waiting)


def unknown(why: str, number: int) -> queue.NoAnswer:
    """That it cannot be known whether cells queue or run, in a sentence."""
    return queue.NoAnswer(
        f"{why}, so nobody can tell which of {number} cells that were sent before still queue or run; try again when "
        "SLURM answers"
    )


def belongs(attempt: Path, task: str) -> bool:
    """Whether an attempt at a cell was made by this array task."""
    try:
        job = json.loads((attempt / "provenance.json").read_bytes())["job"]
        return bool(job and job["id"] == task)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _of(each: Submission, told: Mapping[str, Told]) -> dict[str, Told]:
    return {task: of for task, of in told.items() if of.name == each.job_name}


def _answered(workdir: Workdir, key: str) -> bool:
    return workdir.accepted(key).exists()
