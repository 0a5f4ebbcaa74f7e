"""What SLURM says about jobs, and how it is asked to end or repeat them. Only squeue has to answer; the rest explains.

squeue is asked with all states, so that jobs that ended a short while ago are told, too; sacct (often switched off)
and scontrol are asked how such a job ended. A garbled line is no answer about its job, and no error.
"""

import os
import re
import signal
from collections.abc import Collection
from dataclasses import dataclass, replace

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
_RANGE = re.compile(r"(\d+)(?:-(\d+))?$")
_STATE = re.compile(r"[A-Z_]+$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What SLURM said about one job or array task."""

    state: str
    node: str = ""
    reason: str = ""
    """Why it waits, or why it ended, in SLURM's word."""
    exit: str = ""
    """With which exit code or by which signal it ended; empty where SLURM does not say or all was well."""
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
            found[task] = Told(
                state=fields[0], node=fields[1], reason=_reason(fields[2]), name=fields[3]
            )
    return found


def ended(tasks: Collection[str], name: str) -> dict[str, Told]:
    """How tasks that queue and run no more came to their end, as far as accounting or the controller remembers.

    Args:
        tasks: ids of jobs or array tasks.
        name: what the jobs are called: ids are used again, on another cluster or after a new start.
    """
    if not tasks:
        return {}
    found = _from_accounting(tasks, name)
    jobs = {task.partition("_")[0] for task in tasks if task not in found}
    for job in sorted(jobs):
        found.update(_from_controller(job, tasks, name))
    return found


def _from_accounting(tasks: Collection[str], name: str) -> dict[str, Told]:
    jobs = ",".join(sorted({task.partition("_")[0] for task in tasks}))
    fields = "--format=JobID,State,NodeList,ExitCode,JobName%200"
    try:
        listing = ask(["sacct", "--noheader", "--parsable2", f"--jobs={jobs}", fields])
    except NoAnswer:
        return {}
    found: dict[str, Told] = {}
    out_of_memory = set()
    for line in listing.splitlines():
        parts = line.strip().split("|", 4)
        state = (parts[1].split() or [""])[0] if len(parts) == 5 else ""  # "CANCELLED by 1000"
        if not _STATE.match(state):
            continue
        task, _, step = parts[0].partition(".")
        if step and state == "OUT_OF_MEMORY":
            out_of_memory.add(task)  # the job itself is only FAILED then
        elif not step and parts[4] == name:
            node = "" if parts[2] == "None assigned" else parts[2]
            told = Told(state=state, node=node, exit=_exit(parts[3]), name=name)
            found.update(dict.fromkeys(_meant(task, tasks), told))
    for task in out_of_memory & found.keys():
        found[task] = replace(found[task], state="OUT_OF_MEMORY")
    return found


def _from_controller(job: str, tasks: Collection[str], name: str) -> dict[str, Told]:
    try:
        listing = ask(["scontrol", "--oneliner", "show", "job", job])
    except NoAnswer:
        return {}  # it forgets jobs some minutes after their end
    found = {}
    for line in listing.splitlines():
        told = _fields(line)
        index = told.get("ArrayTaskId", "")
        task = f"{told.get('ArrayJobId', '')}_{index}" if index else told.get("JobId", "")
        state = told.get("JobState", "")
        if told.get("JobName") == name and _STATE.match(state):
            node = told.get("NodeList", "").replace("(null)", "")
            reason = _reason(told.get("Reason", ""))
            exit_ = _exit(told.get("ExitCode", ""))
            ended_so = Told(state=state, node=node, reason=reason, exit=exit_, name=name)
            found.update(dict.fromkeys(_meant(task, tasks), ended_so))
    return found


def _meant(listed: str, tasks: Collection[str]) -> list[str]:
    """Those of some tasks that a listing means by `12_3`, or by `12_[0-2,5%4]`: tasks that never began share a line."""
    if listed in tasks:
        return [listed]
    job, _, indices = listed.replace("[", "").replace("]", "").partition("_")
    ranges = [_RANGE.match(each) for each in indices.partition("%")[0].split(",")]
    bounds = [(int(r[1]), int(r[2] or r[1])) for r in ranges if r]
    return [
        task
        for task in tasks
        if task.partition("_")[0] == job
        and any(first <= int(task.partition("_")[2] or -1) <= last for first, last in bounds)
    ]


def _exit(text: str) -> str:
    """SLURM's code:signal in words."""
    code, _, number = text.partition(":")
    if not code.isdecimal() or not number.isdecimal():
        return ""
    if number != "0":
        try:
            return f"ended by {signal.Signals(int(number)).name}"
        except ValueError:
            return f"ended by signal {number}"
    return "" if code == "0" else f"exit code {code}"


def _reason(text: str) -> str:
    return "" if text in ("None", "(null)") else text


def facts(job: str) -> dict[str, str]:
    """What the controller holds of one job, as `scontrol show job` names it (JobState, ExitCode, Requeue, Reason).

    Returns:
        Nothing where there is no scontrol, or the controller has forgotten the job.
    """
    try:
        told = ask(["scontrol", "--oneliner", "show", "job", job])
    except NoAnswer:
        return {}
    return _fields(told)


def _fields(line: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in line.split():
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


def this_task() -> str:
    """SLURM's id of the job or array task in which this process runs; empty outside one."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID", "")
    # One task of every array has the array's own id as SLURM_JOB_ID: by that, all its tasks would be meant.
    index = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")


def requeue_this_job() -> str:
    """Ask that the job or array task in which this process runs be run again, unless it is being cancelled.

    Returns:
        Why not; empty if it was asked.
    """
    task = this_task()
    try:
        # A cancelled job is COMPLETING when its signal comes; asking for a requeue would bring it back to life.
        state = ask(["squeue", "--noheader", "--array", f"--jobs={task}", "--format=%T"]).split()
        if state != ["RUNNING"]:
            return f"the job is {' '.join(state) or 'gone'}"
        ask(["scontrol", "requeue", task])
    except NoAnswer as error:
        return str(error)
    return ""
