"""What SLURM says about the site: partitions, nodes, limits, and which of its commands answer. It asks, and judges nothing.

Every part is read by itself: what is missing or garbled in an answer is unknown (None, or left out), and no error.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from slurm.ask import NoAnswer, ask

QUESTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sbatch": ("sbatch", "--version"),
        "squeue": ("squeue", "--noheader", f"--user={os.getuid()}", "--format=%i"),
        "scancel": ("scancel", "--version"),
        "scontrol": ("scontrol", "show", "config"),
        "sacct": ("sacct", "-X", "--noheader", "--parsable2", "--starttime=now", "--format=JobID"),
    }
)
"""The commands that the harness gives, each as something to ask that changes nothing."""
# Not those that are switched off to save power: they are started for a job.
_OUT_OF_SERVICE = ("down", "drain", "fail", "error", "unknown", "inval", "future", "no_respond")


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodes:
    """Nodes of one partition that are alike."""

    number: int
    state: str
    """As sinfo spells it, without the marks behind it: idle, mixed, allocated, down, drained, ..."""
    cpus: int
    """Of each node."""
    memory_mb: int
    """Of each node, in MiB."""
    gpus: int = 0
    """Of each node."""

    @property
    def in_service(self) -> bool:
        """Whether they take jobs, now or when those that run there are over."""
        return not self.state.startswith(_OUT_OF_SERVICE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """A queue and its nodes."""

    name: str
    state: str
    """up, down, drain or inactive; only "up" starts jobs."""
    is_default: bool
    limit_min: int | None
    """Longest time limit of a job, in whole minutes; None without a limit, or where it is unknown."""
    preempt_mode: str
    """What happens to its jobs when others go first: OFF, CANCEL, REQUEUE, SUSPEND; empty where it is unknown."""
    nodes: tuple[Nodes, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """What SLURM says of itself. None and empty text: unknown."""

    version: str = ""
    partitions: tuple[Partition, ...] = ()
    max_array_size: int | None = None
    """One more than the highest index of an array."""
    max_job_count: int | None = None
    """Most jobs that the controller holds, array tasks counted one by one."""
    job_requeue: bool | None = None
    """Whether jobs that say nothing about it may be requeued."""
    preempt_type: str = ""
    preempt_mode: str = ""
    accounting: bool | None = None
    """Whether ended jobs are recorded, for sacct."""
    silent: Mapping[str, str] = field(default_factory=dict)
    """Why a command does not answer here, by the command; the others answer."""


def look() -> Site:
    """Ask for everything.

    Raises:
        slurm.ask.NotHere: when this machine has no sinfo.
        NoAnswer: when sinfo gets no answer from the controller.
    """
    version = _version(ask(["sinfo", "--version"]))
    partitions = read_partitions(
        # --all: a partition that is hidden from listings may be used by name.
        ask(["sinfo", "--noheader", "--exact", "--all", "--format=%P|%a|%l|%M|%D|%T|%c|%m|%G"])
    )
    silent, said = _answers()
    values = read_config(said.get("scontrol", ""))
    storage = values.get("AccountingStorageType", "")
    requeue = values.get("JobRequeue", "")
    return Site(
        version=version or values.get("SLURM_VERSION", ""),
        partitions=partitions,
        max_array_size=_whole(values.get("MaxArraySize", "")),
        max_job_count=_whole(values.get("MaxJobCount", "")),
        job_requeue={"0": False, "1": True}.get(requeue),
        preempt_type=values.get("PreemptType", ""),
        preempt_mode=values.get("PreemptMode", ""),
        accounting=not storage.endswith("/none") if storage else None,
        silent=silent,
    )


def silent_commands() -> dict[str, str]:
    """Why commands that the harness gives do not answer on this machine; those that do are left out."""
    return _answers()[0]


def _answers() -> tuple[dict[str, str], dict[str, str]]:
    silent, said = {}, {}
    for name, question in QUESTIONS.items():
        try:
            said[name] = ask(question)
        except NoAnswer as error:
            silent[name] = str(error)
    return silent, said


def read_partitions(listing: str) -> tuple[Partition, ...]:
    """Read sinfo's lines of `%P|%a|%l|%M|%D|%T|%c|%m|%G`, in their order; garbled lines are passed over."""
    found: dict[str, Partition] = {}
    for line in listing.splitlines():
        fields = line.strip().split("|", 8)
        if len(fields) != 9 or not fields[0].strip("*"):
            continue
        name, state, limit, preempt, number, node_state, cpus, memory, gres = (each.strip() for each in fields)  # fmt: skip
        counts = [_whole(each.removesuffix("+")) for each in (number, cpus, memory)]
        if any(each is None for each in counts):
            continue
        num_nodes, num_cpus, memory_mb = (each or 0 for each in counts)
        alike = Nodes(
            number=num_nodes,
            state=re.sub(r"[^a-z_]+$", "", node_state.lower()),
            cpus=num_cpus,
            memory_mb=memory_mb,
            gpus=num_gpus(gres),
        )
        known = found.get(name.removesuffix("*"))
        found[name.removesuffix("*")] = Partition(
            name=name.removesuffix("*"),
            state=state.lower(),
            is_default=name.endswith("*"),
            limit_min=minutes(limit),
            preempt_mode=preempt.upper(),
            nodes=(*(known.nodes if known else ()), *((alike,) if num_nodes else ())),
        )
    return tuple(found.values())


def read_config(told: str) -> dict[str, str]:
    """Read the `Name = value` lines of `scontrol show config`; "(null)" is no value."""
    found = {}
    for line in told.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() and value.strip() not in ("", "(null)"):
            found[name.strip()] = value.strip()
    return found


def minutes(limit: str) -> int | None:
    """A time as sinfo prints it ("2-00:00:00", "1:30:00", "30:00") in whole minutes; None without a limit, or if garbled."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if not match:
        return None
    days, hours, mins, _ = (int(each or 0) for each in match.groups())
    return (days * 24 + hours) * 60 + mins


def num_gpus(gres: str) -> int:
    """GPUs of a node, from its generic resources: "gpu:2", "gpu:a100:4(S:0-1),gpu:t4:1,shard:8", "(null)"."""
    total = 0
    # What stands in brackets are sockets and indices, with commas of their own.
    for each in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *words = each.strip().split(":")
        if name == "gpu":
            total += int(words[-1]) if words and words[-1].isdecimal() else 1
    return total


def _version(told: str) -> str:
    match = re.match(r"slurm(?:-wlm)?\s+(\S+)", told.strip())
    return match.group(1) if match else ""


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None
