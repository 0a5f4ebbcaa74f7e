"""What a cluster's description asks for, held against what SLURM says there is; each finding with what to do about it."""

from collections.abc import Sequence

from configs.clusters import Cluster
from configs.knobs import did_you_mean
from harness.doctor import Finding
from slurm.site import Nodes, Partition, Site

NEEDED = {
    "sbatch": "nothing can be sent",
    "squeue": "`harness status` cannot tell what queues or runs, and `harness run` refuses to send",
    "scancel": "`harness cancel` cannot end jobs",
}
"""Commands that the login node has to have, and what is lost without them."""


def compare(cluster: Cluster, site: Site) -> list[Finding]:
    """Every finding about the site, good ones too."""
    found = [_slurm(site), *_commands(site), _accounting(site), *_partitions(cluster, site)]
    chosen = chosen_partitions(cluster, site)
    if chosen:
        nodes = [each for partition in chosen for each in partition.nodes]
        found += [_time(cluster, chosen), _gpus(cluster, nodes, site)]
        if not cluster.gpus_per_node or any(each.gpus for each in nodes):
            found += [_size(cluster, nodes), *_pretraining(cluster, nodes)]
    return [*found, _arrays(cluster, site), *_again(cluster, chosen, site)]


def chosen_partitions(cluster: Cluster, site: Site) -> list[Partition]:
    """The partitions that jobs go to: those that are named, or else the site's default; unknown ones are left out."""
    if not cluster.partition:
        return [each for each in site.partitions if each.is_default]
    named = _names(cluster)
    return [each for each in site.partitions if each.name in named]


def _names(cluster: Cluster) -> list[str]:
    return [each.strip() for each in cluster.partition.split(",") if each.strip()]


def _slurm(site: Site) -> Finding:
    return Finding("SLURM", True, f"version {site.version or 'unknown'}")


def _commands(site: Site) -> list[Finding]:
    found = [
        Finding(name, False, site.silent[name], f"without it {loss}: ask the site where it is")
        for name, loss in NEEDED.items()
        if name in site.silent
    ]
    if "scontrol" in site.silent:
        found.append(
            Finding(
                "scontrol", True, site.silent["scontrol"],
                "without it the site's limits are not known here; nothing else is lost",
            )
        )  # fmt: skip
    return found


def _accounting(site: Site) -> Finding:
    if site.accounting is not False and "sacct" not in site.silent:
        return Finding("accounting", True, "sacct answers")
    why = "off" if site.accounting is False else site.silent["sacct"]
    return Finding(
        "accounting",
        True,
        why,
        "nothing is lost; how a job ended is explained less well some minutes after its end",
    )


def _partitions(cluster: Cluster, site: Site) -> list[Finding]:
    if not site.partitions:
        return [
            Finding("partition", False, "sinfo names none", "ask the site which ones you may use")
        ]
    known = [each.name for each in site.partitions]
    there = ", ".join(known)
    chosen = chosen_partitions(cluster, site)
    if not cluster.partition and not chosen:
        return [
            Finding(
                "partition", False, "SLURM has no default partition",
                f"write partition = \"...\" into the cluster's file, one of {there}",
            )
        ]  # fmt: skip
    found = [
        Finding(
            "partition", False, f"there is no partition '{name}'{did_you_mean(name, known)}",
            f"write one of {there} into the cluster's file",
        )
        for name in _names(cluster)
        if name not in known
    ]  # fmt: skip
    return found + [_partition(each, site) for each in chosen]


def _partition(partition: Partition, site: Site) -> Finding:
    name = f"partition {partition.name}"
    number = sum(each.number for each in partition.nodes)
    serving = [each for each in partition.nodes if each.in_service]
    num_serving = sum(each.number for each in serving)
    up = [
        each.name
        for each in site.partitions
        if each.state == "up" and any(nodes.in_service for nodes in each.nodes)
    ]
    others = ", ".join(each for each in up if each != partition.name)
    elsewhere = f"wait, or take another partition ({others})" if others else "wait, or ask the site"
    if partition.state != "up":
        return Finding(name, False, f"it is {partition.state}: no job starts there", elsewhere)
    if not num_serving:
        states = ", ".join(sorted({each.state for each in partition.nodes})) or "it has none"
        return Finding(name, False, f"none of its {number} nodes is in service ({states})", elsewhere)  # fmt: skip
    idle = sum(each.number for each in serving if each.state == "idle")
    out = f", {number - num_serving} out of service" if number > num_serving else ""
    default = "the site's default, " if partition.is_default else ""
    return Finding(name, True, f"{default}up, {_plural(number, 'node')} ({idle} idle{out})")


def _time(cluster: Cluster, chosen: Sequence[Partition]) -> Finding:
    limited = [(each.limit_min, each.name) for each in chosen if each.limit_min is not None]
    if not limited:
        return Finding("time_min", True, "no limit of the partition is known")
    least, name = min(limited)
    limit = f"the limit of partition {name} is {least} minutes"
    if cluster.time_min > least:
        return Finding(
            "time_min", False, f"{cluster.time_min} minutes, and {limit}",
            f"write time_min = {least}; what a job does not finish is continued by the next",
        )  # fmt: skip
    asked = f"{cluster.time_min} minutes" if cluster.time_min else "left to the site"
    return Finding("time_min", True, f"{asked}; {limit}")


def _gpus(cluster: Cluster, nodes: Sequence[Nodes], site: Site) -> Finding:
    what, asked = "gpus_per_node", cluster.gpus_per_node
    most = max((each.gpus for each in nodes), default=0)
    if asked and not most:
        having = [p.name for p in site.partitions if any(each.gpus for each in p.nodes)]
        where = f", or a partition with GPUs ({', '.join(having)})" if having else ""
        return Finding(
            what, False, f"{asked}, and no node of the partition has a GPU",
            f"write gpus_per_node = 0{where}",
        )  # fmt: skip
    if asked > most:
        return Finding(
            what, False, f"{asked}, and no node of the partition has more than {most}",
            f"write gpus_per_node = {most}",
        )  # fmt: skip
    if most and not asked:
        return Finding(
            what, True, f"0: jobs run on CPUs, though nodes have {_plural(most, 'GPU')}",
            f"write gpus_per_node = {most} to use them",
        )  # fmt: skip
    return Finding(what, True, f"{asked} of {most}" if asked else "0, and there is none")


def _size(cluster: Cluster, nodes: Sequence[Nodes]) -> Finding:
    """Whether one process fits on a node."""
    asked = f"a process asks for {_asked(cluster, 1)}"
    if any(_fits(cluster, each, 1) for each in nodes):
        return Finding("size", True, f"{asked}; nodes have {_largest(nodes)}")
    most_cpus = max((each.cpus for each in nodes), default=0)
    most_memory_gb = max((each.memory_mb for each in nodes), default=0) / 1024
    advice = []
    if cluster.cpus_per_task > most_cpus:
        advice.append(f"cpus_per_task = {most_cpus} at most")
    if cluster.memory_gb > most_memory_gb:
        advice.append(f"memory_gb = {most_memory_gb:.1f} at most")
    return Finding(
        "size",
        False,
        f"{asked}, and no node of the partition has that; nodes have {_largest(nodes)}",
        f"write {' and '.join(advice)}" if advice else "ask for less, or take another partition",
    )


def _pretraining(cluster: Cluster, nodes: Sequence[Nodes]) -> list[Finding]:
    """Whether a pretraining cell fits, where it takes more than one process."""
    number, ranks = cluster.pretrain_nodes, cluster.pretrain_ranks
    there = sum(each.number for each in nodes)
    found = []
    if number > there:
        found.append(
            Finding(
                "pretrain_nodes", False, f"{number}, and the partition has {_plural(there, 'node')}",
                f"write pretrain_nodes = {max(1, there)}",
            )
        )  # fmt: skip
    fitting = sum(each.number for each in nodes if _fits(cluster, each, ranks))
    one_fits = any(_fits(cluster, each, 1) for each in nodes)  # if not, that is told already
    if one_fits and fitting < number <= there:
        found.append(
            Finding(
                "pretrain_ranks", False,
                f"pretraining asks for {_plural(number, 'node')} of {_asked(cluster, ranks)} each, and "
                f"{_plural(fitting, 'node')} of the partition {'has' if fitting == 1 else 'have'} that",
                "write a smaller pretrain_ranks or pretrain_nodes",
            )
        )  # fmt: skip
    if one_fits and not found and (number > 1 or ranks > 1):
        found.append(
            Finding(
                "pretraining", True, f"{_plural(number, 'node')} of {_asked(cluster, ranks)} each"
            )
        )
    return found


def _fits(cluster: Cluster, nodes: Nodes, ranks: int) -> bool:
    return (
        cluster.cpus_per_task * ranks <= nodes.cpus
        # As it is asked of sbatch, in whole MiB.
        and round(cluster.memory_gb * ranks * 1024) <= nodes.memory_mb
        and (not cluster.gpus_per_node or ranks <= nodes.gpus)
    )


def _asked(cluster: Cluster, ranks: int) -> str:
    memory = f"{cluster.memory_gb * ranks:g} GiB" if cluster.memory_gb else "the site's memory"
    gpus = f", {_plural(ranks, 'GPU')}" if cluster.gpus_per_node else ""
    return f"{_plural(cluster.cpus_per_task * ranks, 'core')}, {memory}{gpus}"


def _largest(nodes: Sequence[Nodes]) -> str:
    kinds = sorted({(each.cpus, each.memory_mb, each.gpus) for each in nodes}, reverse=True)
    shown = [
        f"{_plural(cpus, 'core')}, {memory / 1024:.1f} GiB" + (f", {_plural(gpus, 'GPU')}" if gpus else "")
        for cpus, memory, gpus in kinds[:3]
    ]  # fmt: skip
    return " or ".join(shown) + (" or less" if len(kinds) > 3 else "")


def _arrays(cluster: Cluster, site: Site) -> Finding:
    bounds = {
        f"MaxArraySize is {site.max_array_size}": None if site.max_array_size is None else site.max_array_size - 1,
        f"MaxJobCount is {site.max_job_count}": site.max_job_count,
    }  # fmt: skip
    known = [(bound, words) for words, bound in bounds.items() if bound is not None]
    if not known:
        return Finding("array_limit", True, f"{cluster.array_limit}; the site's limit is not known")
    least, words = min(known)
    if least < 1:
        return Finding("array_limit", False, f"{words}: the site takes no arrays", "ask the site")
    if cluster.array_limit > least:
        return Finding(
            "array_limit", False, f"{cluster.array_limit}, and {words}",
            f"write array_limit = {least}",
        )  # fmt: skip
    more = f"; up to array_limit = {least} would do" if least > cluster.array_limit else ""
    return Finding("array_limit", True, f"{cluster.array_limit}; {words}{more}")


def _again(cluster: Cluster, chosen: Sequence[Partition], site: Site) -> list[Finding]:
    """What becomes of a job that others push aside, or that has to be run again."""
    continues = "what was saved is kept, and the next `harness run` continues from there"
    found = []
    preempts = site.preempt_type not in ("", "preempt/none")
    modes = {each.preempt_mode or site.preempt_mode for each in chosen} if preempts else set()
    told = f"PreemptMode {', '.join(sorted(modes))}" if any(modes) else "PreemptMode OFF"
    if any("CANCEL" in mode for mode in modes):
        found.append(Finding("preemption", True, f"{told}: jobs are cancelled, not requeued", continues))  # fmt: skip
    elif any("REQUEUE" in mode for mode in modes):
        follows = "jobs save, are requeued, and continue" if cluster.requeue else continues
        found.append(Finding("preemption", True, told, follows))
    elif any("SUSPEND" in mode or "GANG" in mode for mode in modes):
        found.append(Finding("preemption", True, told, "jobs stand still for a while, and go on"))
    else:
        found.append(Finding("preemption", True, f"{told}: no job is pushed aside"))
    if not cluster.requeue:
        found.append(Finding("requeue", True, "false", continues))
    elif site.job_requeue is False:
        found.append(
            Finding(
                "requeue", True, "JobRequeue=0: the site requeues only jobs that ask for it, and these do",
                f"should a job not come back all the same, {continues}",
            )
        )  # fmt: skip
    return found


def _plural(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
