"""What the probe job told from a compute node, or what kept it from telling; each with what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from configs.clusters import Cluster
from harness.doctor import NEEDED_GB, Finding
from harness.probe import NO_FOLDER, Answer

SLOW_S = 5.0
"""Seconds after a job's end from which its files count as seen late."""
SHARED = "choose a --workdir on a disk that this machine and the compute nodes share, under the same name"
SAME = (
    "use the same installation on both: one on a shared disk, or say with `python` and `setup` in the cluster's file "
    "which one jobs take"
)
REASONS = {
    "Priority": "other jobs are first: ask again with a longer --wait",
    "Resources": "no node is free yet: ask again with a longer --wait",
    "PartitionDown": "the partition starts no jobs: take another one, or ask the site",
    "PartitionInactive": "the partition starts no jobs: take another one, or ask the site",
    "PartitionTimeLimit": "write a smaller time_min",
    "PartitionNodeLimit": "the partition allows fewer nodes: take another one",
    "PartitionConfig": "the partition does not allow such a job: see the findings above",
    "ReqNodeNotAvail": "the nodes that would do are down or reserved: `sinfo -R` says why; wait, or take another partition",
    "BadConstraints": "no node has all that is asked for: mend `constraint`, or ask for less",
    "InvalidAccount": "mend `account` in the cluster's file (`sacctmgr show associations` lists yours)",
    "InvalidQOS": "mend `qos` in the cluster's file (`sacctmgr show associations` lists yours)",
    "JobHeldUser": "something holds your jobs as they come: ask the site",
    "JobHeldAdmin": "the site holds this job: ask there",
    "Reservation": "the nodes are reserved: wait, or take another partition",
    "BeginTime": "it is about to be tried again: ask again with a longer --wait",
    "JobLaunchFailure": f"the node could not open the job's log: {SHARED}",
}
"""SLURM's reasons, as squeue spells them, and what a user can do."""
WORDS = {
    "partition": "mend `partition` in the cluster's file",
    "account": "mend `account` in the cluster's file (`sacctmgr show associations` lists yours)",
    "qos": "mend `qos` in the cluster's file (`sacctmgr show associations` lists yours)",
    "time limit": "write a smaller time_min into the cluster's file",
    "memory": "mend `memory_gb` in the cluster's file",
    "feature": "mend `constraint` in the cluster's file",
    "node configuration": "no node has all that is asked for: mend gpus_per_node, cpus_per_task, memory_gb or constraint",
    "no sbatch": "run this on a login node",
}
"""What sbatch's refusals speak of, and what a user can do."""
STATES = {
    "CANCELLED": "somebody cancelled it: ask again",
    "TIMEOUT": "a minute or two have to be enough: write a larger time_min, or ask why that node is so slow",
    "PREEMPTED": "other jobs went first: ask again",
    "NODE_FAIL": "the node died: ask again",
    "BOOT_FAIL": "the node did not start: ask again",
    "OUT_OF_MEMORY": "write a larger memory_gb into the cluster's file",
}
"""How a job can end without a fault of its own, and what a user can do."""
LOG = {
    "No module named": f"the Python there lacks what this one has: {SAME}",
    "command not found": "mend `setup` or `python` in the cluster's file: the node does not have that command",
    "No such file or directory": "mend `setup` or `python` in the cluster's file, or use paths that nodes see, too",
    "execve()": "mend `python` in the cluster's file, or use paths that nodes see, too",
    "ut of memory": STATES["OUT_OF_MEMORY"],
    "oom_kill": STATES["OUT_OF_MEMORY"],
    "oom-kill": STATES["OUT_OF_MEMORY"],
}
"""What logs of jobs that failed say, and what a user can do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """What became of the probe job."""

    job: str = ""
    """SLURM's id; empty if it was not taken."""
    refused: str = ""
    """Why not, in sbatch's words."""
    answer: Answer | None = None
    unreadable: str = ""
    """Why there is an answer that cannot be read."""
    token: str = ""
    """What was left for it to read."""
    waited_s: float = 0.0
    """From its submission until its answer was seen here, or until it was given up."""
    late_s: float = 0.0
    """How long after SLURM called the job ended its answer was seen here; 0 if it was seen before."""
    state: str = ""
    """SLURM's last word on it; empty if SLURM told none."""
    node: str = ""
    reason: str = ""
    exit: str = ""
    """With which exit code or by which signal it ended, as `slurm.queue.Told` has it."""
    requeue: str = ""
    """"1" if SLURM would run it again, "0" if not; empty if that is unknown."""
    ended: bool = False
    """Whether it had ended when it was given up."""
    log: tuple[str, ...] = ()
    """The last lines that it said."""


def findings(
    cluster: Cluster, probed: Probed, here: Mapping[str, str], code: Mapping[str, Any]
) -> list[Finding]:
    """Every finding about the node.

    Args:
        cluster: as it is described.
        probed: what became of the probe job.
        here: versions of packages on this machine.
        code: this machine's commit and difference.
    """
    if probed.answer is None:
        return [_unanswered(probed)]
    answer = probed.answer
    where = f"job {probed.job} ran on {answer.host}, and its answer was here {probed.waited_s:.0f} s after it was sent"
    return [
        Finding("probe job", True, where),
        _folder(probed, answer),
        _python(answer, here),
        _code(answer.code, code),
        _torch(cluster, answer),
        _cores(cluster, answer),
        *_requeue(cluster, probed, answer),
        _store(answer),
    ]


def _unanswered(probed: Probed) -> Finding:
    what = "probe job"
    if probed.refused:
        return Finding(what, False, f"SLURM refused it: {probed.refused}", _advice(probed.refused))
    if probed.unreadable:
        return Finding(what, False, f"job {probed.job}: {probed.unreadable}", f"the code there is another version: {SAME}")  # fmt: skip
    where = f" on {probed.node}" if probed.node else ""
    why = f" ({probed.reason})" if probed.reason else ""
    seconds = f"{probed.waited_s:.0f} s"
    if not probed.ended:
        state = (
            f"{probed.state}{where}{why}" if probed.state else "in a state that SLURM did not tell"
        )
        advice = _by_start(probed.reason, REASONS) or "ask again with a longer --wait"
        return Finding(what, False, f"job {probed.job} was {state} after {seconds}, and was cancelled", advice)  # fmt: skip
    code = f", {probed.exit}" if probed.exit else ""
    said = "".join(f"\n   | {line}" for line in probed.log)
    ended = f"job {probed.job} ended without an answer: {probed.state or 'forgotten by SLURM'}{where}{why}{code}{said}"
    if probed.state in STATES:
        return Finding(what, False, ended, STATES[probed.state])
    if probed.exit == f"exit code {NO_FOLDER}" or not probed.log:
        return Finding(what, False, ended, f"the work folder here was not seen there: {SHARED}")
    advice = next((advice for sign, advice in LOG.items() if any(sign in line for line in probed.log)), "")  # fmt: skip
    advice = advice or _by_start(probed.reason, REASONS)
    return Finding(what, False, ended, advice or "mend what it says, and ask again")


def _by_start(reason: str, known: Mapping[str, str]) -> str:
    """SLURM adds details to some reasons; limits of accounts and of QOS are many, and named alike."""
    if reason.startswith(("QOS", "Assoc", "MaxJobs", "MaxSubmit", "MaxCpu", "MaxGRES", "MaxMem")):
        return (
            "a limit of your account or QOS is reached: wait for your other jobs, or ask for less"
        )
    return next((advice for start, advice in known.items() if reason.startswith(start)), "")


def _advice(refusal: str) -> str:
    found = [advice for word, advice in WORDS.items() if word in refusal.lower()]
    return found[0] if found else "mend that in the cluster's file, and ask again"


def _folder(probed: Probed, answer: Answer) -> Finding:
    what = "work folder there"
    if answer.token != probed.token:
        return Finding(what, False, "it is another folder of that name", SHARED)
    told = f"written and read from here and there, {answer.free_gb:.1f} GB free"
    if answer.free_gb < NEEDED_GB:
        return Finding(what, False, told, f"less than {NEEDED_GB:.0f} GB: free some space")
    if probed.late_s > SLOW_S:
        return Finding(
            what, True, f"{told}; a file was seen here {probed.late_s:.0f} s after its job had ended",
            "`harness status` is late by as much; results are not at risk",
        )  # fmt: skip
    return Finding(what, True, told)


def _python(answer: Answer, here: Mapping[str, str]) -> Finding:
    there = answer.packages
    apart = [
        f"{name} {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]
    if apart:
        return Finding("Python there", False, f"{answer.python}: {'; '.join(apart)}", SAME)
    return Finding("Python there", True, f"{there.get('python', '')}, and the same {len(there) - 1} packages as here")  # fmt: skip


def _code(there: Mapping[str, Any], here: Mapping[str, Any]) -> Finding:
    what = "code there"
    if dict(there) == dict(here):
        if here.get("dirty") is None:
            return Finding(what, True, "no git checkout, there or here: nobody can tell whether they are the same")  # fmt: skip
        altered = ", altered since" if here["dirty"] else ""
        return Finding(what, True, f"commit {_short(here)}{altered}, as here")
    if there.get("dirty") is None:
        return Finding(
            what, False, f"its commit cannot be told there, and is {_short(here)} here: jobs would refuse their cells",
            f"see that nodes have git and may read the checkout; else {SAME}",
        )  # fmt: skip
    if there.get("commit") == here.get("commit"):
        return Finding(what, False, f"commit {_short(here)}, with other changes than here: jobs would refuse their cells", SAME)  # fmt: skip
    return Finding(what, False, f"commit {_short(there)}, and {_short(here)} here: jobs would refuse their cells", SAME)  # fmt: skip


def _short(code: Mapping[str, Any]) -> str:
    return str(code.get("commit"))[:12]


def _torch(cluster: Cluster, answer: Answer) -> Finding:
    what, version = "torch there", answer.packages.get("torch", "unknown")
    if answer.torch_problem:
        return Finding(what, False, f"{version}: {answer.torch_problem}", f"a driver or library is missing there: {SAME}")  # fmt: skip
    if not cluster.gpus_per_node:
        return Finding(what, True, f"{version}, on CPUs as gpus_per_node = 0 says")
    if not answer.gpus and not answer.gpus_allotted:
        return Finding(
            what, False, f"{version}: SLURM let the job see no GPU",
            "ask the site how GPUs are asked for (the harness says --gpus-per-node=1), or name a partition with GPUs",
        )  # fmt: skip
    if not answer.gpus:
        return Finding(
            what, False, f"{version} sees none of the {answer.gpus_allotted} GPUs there",
            "install a CUDA build of torch that the node's driver knows (`setup` can load modules)",
        )  # fmt: skip
    broken = [f"{each.name}: {each.problem}" for each in answer.gpus if each.problem]
    if broken:
        return Finding(
            what, False, f"{version}: {'; '.join(broken)}",
            "install a build of torch for these GPUs and their driver, or avoid them with `constraint`",
        )  # fmt: skip
    seen = ", ".join(f"{each.name} with {each.memory_gb:.0f} GiB" for each in answer.gpus)
    return Finding(what, True, f"{version}, and a GPU works: {seen}")


def _cores(cluster: Cluster, answer: Answer) -> Finding:
    if answer.cores < cluster.cpus_per_task:
        return Finding(
            "cores there", True, f"{answer.cores}, though cpus_per_task = {cluster.cpus_per_task}",
            "the site counts threads or binds processes in its own way: ask for more, or go on as it is",
        )  # fmt: skip
    return Finding("cores there", True, f"a process may use {answer.cores}")


def _requeue(cluster: Cluster, probed: Probed, answer: Answer) -> list[Finding]:
    what, silent = "SLURM there", answer.silent
    follows = (
        "after a time limit or a preemption, the next `harness run` continues from what was saved"
    )
    needed = [silent[each] for each in ("squeue", "scontrol") if each in silent]
    if cluster.requeue and needed:
        return [Finding(what, True, f"a job cannot ask to be run again: {'; '.join(needed)}", follows)]  # fmt: skip
    if cluster.requeue and probed.requeue == "0":
        return [Finding(what, True, "the site takes requests to run a job again back", follows)]
    names = sorted({"squeue", "scontrol", "scancel", "sacct"} - set(silent))
    told = f"{', '.join(names)} answer" if names else "none of its commands answers"
    return [Finding(what, True, told)]


def _store(answer: Answer) -> Finding:
    if answer.store_problem:
        return Finding(
            "MLflow there", False, answer.store_problem,
            "jobs go on without it, and `harness collect` on this machine brings results to it; or name a store with "
            "MLFLOW_TRACKING_URI that nodes reach, too",
        )  # fmt: skip
    return Finding("MLflow there", True, "the store is reached")
