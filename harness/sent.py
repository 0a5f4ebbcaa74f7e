"""Where the cells are that were sent to a cluster, as SLURM tells it now."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness import result, submission
from harness.result import FAILURE
from harness.submission import Submission
from harness.workdir import Workdir
from slurm import queue
from slurm.queue import Told

LINE = 200
"""Characters of a log's last line that are shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A cell's place on a cluster."""

    task: str
    """SLURM's id of the array task."""
    told: Told | None = None
    """What SLURM said of it; None where it has forgotten it, or never knew it."""
    no_answer: str = ""
    """Why SLURM could not be asked; empty if it could."""
    folder: Path | None = None
    """The submission's folder."""

    @property
    def left(self) -> bool:
        """Whether its processes saved and left because they were asked to: a time limit, a preemption, a cancel."""
        return self.folder is not None and submission.left(self.folder, self.task).exists()

    @property
    def last_words(self) -> str:
        """The last line of the job's own log, shortened; empty where there is none."""
        return last_line(self.log) if self.log else ""

    @property
    def log(self) -> Path | None:
        """What the job said outside any cell; None where it said nothing."""
        if self.folder is None:
            return None
        path = submission.job_log(self.folder, self.task)
        return path if path.exists() else None

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
        why = ", ".join(each for each in (self.told.reason, self.told.exit) if each)
        return f"job {self.task} {self.told.state}{where}{f' ({why})' if why else ''}"


def look(workdir: Workdir) -> dict[str, Sent]:
    """Every cell that was ever sent from a work folder and has no result yet, by key; its live job, or else its last."""
    submissions = [
        each for each in submission.read_all(workdir) if each.pending or _open(workdir, each.cells)
    ]
    if not submissions:
        return {}
    try:
        told = queue.queued({each.job_name for each in submissions})
    except queue.NoAnswer as error:
        return {
            key: Sent(task=task, no_answer=str(error), folder=each.folder)
            for each in submissions
            for key, task in _open(workdir, each.cells).items()
        }
    found: dict[str, Sent] = {}
    for each in submissions:
        ours = _of(each, told)
        open_cells = _open(workdir, {**each.cells, **_adopted(each, ours)})
        over = {task for task in open_cells.values() if task not in ours or not ours[task].live}
        for task, end in queue.ended(over, each.job_name).items():
            # Accounting lags behind, so squeue's state counts; the others say with which exit code, and where.
            seen = ours.get(task)
            if seen is None or seen.state == end.state or end.state == "OUT_OF_MEMORY":
                ours[task] = replace(
                    end,
                    reason=end.reason or (seen.reason if seen else ""),
                    node=end.node or (seen.node if seen else ""),
                )
        for key, task in open_cells.items():
            if key not in found or not found[key].live:
                found[key] = Sent(task=task, told=ours.get(task), folder=each.folder)
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


def held(workdir: Workdir) -> dict[str, Sent]:
    """Of `look`, the cells that queue or run, or may do so for all that is known."""
    return {key: place for key, place in look(workdir).items() if holds(workdir, key, place)}


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
    return result.made_by(attempt) == task


def last_line(path: Path) -> str:
    """The last line of a job's log that says why it ended, at most LINE characters; empty where there is none.

    srun, which only repeats that a step has ended, and notices of cancelling are passed over if there is anything else.
    """
    try:
        with path.open("rb") as source:
            source.seek(max(0, path.stat().st_size - 8192))
            text = source.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [
        line for line in lines if not line.startswith("srun: ") and "CANCELLED AT" not in line
    ]
    return (telling or lines or [""])[-1][:LINE]


def _of(each: Submission, told: Mapping[str, Told]) -> dict[str, Told]:
    return {task: of for task, of in told.items() if of.name == each.job_name}


def _open(workdir: Workdir, cells: Mapping[str, str]) -> dict[str, str]:
    return {key: task for key, task in cells.items() if not workdir.accepted(key).exists()}


def _adopted(each: Submission, ours: Mapping[str, Told]) -> dict[str, str]:
    """Cells of an array that was queued by a driver that died before it could write down the id."""
    known = {task.partition("_")[0] for task in each.tasks}
    unknown = {task.partition("_")[0] for task in ours} - known
    if not each.pending or len(unknown) != 1:
        return {}
    try:
        tasks = submission.tasks_of(each.folder, each.pending)
    except (OSError, ValueError, KeyError):
        return {}
    (job,) = unknown
    return {key: f"{job}_{index}" for index, task in enumerate(tasks) for key in task}
