"""What SLURM says about jobs, and how it is asked to end or repeat them. Only squeue has to answer; the rest explains.

squeue is asked with all states, so that jobs that ended a short while ago are told, too; sacct (often switched off)
is asked about those that the controller has forgotten. A garbled line is no answer about its job, and no error.
"""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass

from slurm.ask import NoAnswer as NoAnswer
from slurm.ask import ask

WAITING = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)  # fmt: skip
"""States of a job that has not begun, or not again."""
LIVE = WAITING | {
    "RUNNING",
    "COMPLETING",
    "SUSPENDED",
    "STOPPED",
    "SIGNALING",
    "RESIZING",
    "STAGE_OUT",
}
"""States of a job that may still do something."""
_TASK = re.compile(r"\d+(_\d+)?$")
_STATE = re.compile(r"[A-Z_]+$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What SLURM said about one job or array task."""

    state: str
    node: str = ""
    reason: str = ""
    """Why it waits, or how it ended."""
    name: str = ""
    """What the job is called."""

    @property
    def live(self) -> bool:
        """Whether it may still do something."""
        return self.state in LIVE

    @property
    def waiting(self) -> bool:
        """Whether it has not begun, or not again."""
        return self.state in WAITING


def queued(names: Collection[str]) -> dict[str, Told]:
    """Jobs and array tasks of this user and these names that the controller remembers, by id.

    Raises:
        NoAnswer: when squeue is not there, fails or does not end in time.
    """
    format_ = "--format=%i|%T|%N|%r|%j"
    listing = ask(
        ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", format_]
    )
    found = {}
    for line in listing.splitlines():
        task, _, rest = line.strip().partition("|")
        fields = rest.split("|", 3)
        if (
            len(fields) == 4
            and fields[3] in names
            and _TASK.match(task)
            and _STATE.match(fields[0])
        ):
            reason = "" if fields[2] in ("None", "(null)") else fields[2]
            found[task] = Told(state=fields[0], node=fields[1], reason=reason, name=fields[3])
    return found


def remembered(tasks: Collection[str], name: str) -> dict[str, Told]:
    """What accounting remembers of tasks that the controller has forgotten; nothing where there is no accounting."""
    if not tasks:
        return {}
    jobs = ",".join(sorted({task.partition("_")[0] for task in tasks}))
    fields = "--format=JobID,State,NodeList,ExitCode,JobName%200"
    try:
        listing = ask(["sacct", "-X", "--noheader", "--parsable2", f"--jobs={jobs}", fields])
    except NoAnswer:
        return {}
    found = {}
    for line in listing.splitlines():
        parts = line.strip().split("|", 4)
        if len(parts) == 5 and parts[0] in tasks and parts[4] == name:
            state = (parts[1].split() or [""])[0]  # "CANCELLED by 1000"
            if _STATE.match(state):
                reason = "" if parts[3] == "0:0" else f"exit code {parts[3]}"
                found[parts[0]] = Told(state=state, node=parts[2], reason=reason, name=name)
    return found


def facts(job: str) -> dict[str, str]:
    """What the controller holds of one job, as `scontrol show job` names it (JobState, ExitCode, Requeue, Reason).

    Returns:
        Nothing where there is no scontrol, or the controller has forgotten the job.
    """
    try:
        told = ask(["scontrol", "show", "job", "--oneliner", job])
    except NoAnswer:
        return {}
    found: dict[str, str] = {}
    for word in told.split():
        name, equals, value = word.partition("=")
        if equals and name.isalpha():
            found.setdefault(name, value)  # a command line further on may hold an equals sign, too
    return found


def cancel(tasks: Collection[str]) -> None:
    """End jobs or array tasks.

    Raises:
        NoAnswer: when scancel fails.
    """
    for first in range(0, len(tasks), 200):
        ask(["scancel", *sorted(tasks)[first : first + 200]])


def requeue_this_job() -> str:
    """Ask that the job in which this process runs be run again, unless it is being cancelled.

    Returns:
        Why not; empty if it was asked.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    try:
        # A cancelled job is COMPLETING when its signal comes; asking for a requeue would bring it back to life.
        state = ask(["squeue", "--noheader", f"--jobs={job}", "--format=%T"]).split()
        if state != ["RUNNING"]:
            return f"the job is {' '.join(state) or 'gone'}"
        ask(["scontrol", "requeue", job])
    except NoAnswer as error:
        return str(error)
    return ""
