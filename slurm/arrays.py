"""Jobs as job arrays: equal needs become one array, small jobs share a task, long arrays are cut at the site's limit."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slurm.job import Job

TASK_SECONDS = 120.0
"""Small jobs are packed until a task is expected to take so long: starting one costs about 5 s."""
MOST_PACKED = 100
MOST_GROUPS = 20
"""More groups of different needs than this, and they wait for each other's arrays as a whole."""
MOST_NAMED = 100
"""Tasks that one dependency names, at most; beyond, whole arrays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Array:
    """Tasks of one shape that may start at the same time."""

    name: str
    ranks: int
    """Processes of a task, over all its nodes."""
    nodes: int
    tasks: tuple[tuple[str, ...], ...]
    """Ids of the jobs that each task carries out, one after the other."""
    after: tuple[tuple[str, int | None], ...] = ()
    """(array, index) that have to be over before; index None is the whole array."""
    after_sent: tuple[str, ...] = ()
    """The same for tasks that were sent earlier, by SLURM's id."""
    only_if_ok: bool = True
    """Whether a failure among `after` cancels this array; if not, its jobs find out by themselves."""


def shape(
    jobs: Sequence[Job],
    *,
    sent: Mapping[str, str],
    pack: int | None = None,
    together: int = 1,
    array_limit: int = 1000,
) -> list[Array]:
    """Cut jobs into arrays, in an order in which they can be submitted.

    Args:
        jobs: with `cost` in expected seconds. A need that is neither among them nor sent is done.
        sent: SLURM's id of the task, by job, for needs that queue or run since an earlier submission.
        pack: jobs per task; None for as many as make TASK_SECONDS. A job that others need has a task of its own,
            so that its exit code speaks for it alone, and so has a job of several nodes, which would meet the one before
            it on its way out.
        together: so many jobs of one kind (`Job.together`) share a task, however long they take one after the other.
        array_limit: most tasks of one array.
    """
    ours = {job.id: job for job in jobs}
    needed = {need for job in jobs for need in job.needs}
    arrays: list[Array] = []
    place: dict[str, tuple[str, int]] = {}
    for _, level in sorted(_by_depth(jobs, ours).items()):
        groups: defaultdict[tuple[int, int, bool, frozenset[str]], list[Job]] = defaultdict(list)
        distinct = {
            frozenset(each for each in job.needs if each in ours or each in sent) for job in level
        }
        merged = len(distinct) > MOST_GROUPS
        for job in level:
            open_needs = frozenset(each for each in job.needs if each in ours or each in sent)
            groups[
                job.nodes, job.ranks, job.id in needed, frozenset() if merged else open_needs
            ].append(job)
        for (nodes, ranks, alone, _), members in groups.items():
            needs = {need for job in members for need in job.needs}
            named = sorted({place[need] for need in needs if need in place})
            earlier = tuple(
                sorted({sent[need] for need in needs if need in sent and need not in ours})
            )
            whole = merged or len(named) + len(earlier) > MOST_NAMED
            after: tuple[tuple[str, int | None], ...] = tuple(named)
            if whole:
                after = tuple((name, None) for name in sorted({name for name, _ in named}))
                earlier = tuple(sorted({each.partition("_")[0] for each in earlier}))
            tasks = _packed(members, 1 if alone or nodes > 1 else pack, together)
            for first in range(0, len(tasks), array_limit):
                array = Array(
                    name=f"a{len(arrays)}",
                    ranks=ranks,
                    nodes=nodes,
                    tasks=tuple(tasks[first : first + array_limit]),
                    after=after,
                    after_sent=earlier,
                    only_if_ok=not whole,
                )
                for index, task in enumerate(array.tasks):
                    place.update((each, (array.name, index)) for each in task)
                arrays.append(array)
    return arrays  # fmt: skip


def _by_depth(jobs: Sequence[Job], ours: Mapping[str, Job]) -> dict[int, list[Job]]:
    """Jobs by the length of their longest chain of needs among these jobs."""
    depth: dict[str, int] = {}

    def of(job: Job) -> int:
        if job.id not in depth:
            depth[job.id] = max((1 + of(ours[need]) for need in job.needs if need in ours), default=0)  # fmt: skip
        return depth[job.id]

    levels: defaultdict[int, list[Job]] = defaultdict(list)
    for job in jobs:
        levels[of(job)].append(job)
    return levels


def _packed(jobs: Sequence[Job], pack: int | None, together: int) -> list[tuple[str, ...]]:
    """Fill tasks one after the other, the costliest jobs first, so that a task's jobs are of about one size and kind."""
    tasks: list[list[Job]] = []
    seconds = 0.0
    for job in sorted(jobs, key=lambda job: (-job.cost, job.together)):
        if not tasks or _full(tasks[-1], job, seconds, pack, together):
            tasks.append([])
            seconds = 0.0
        tasks[-1].append(job)
        seconds += job.cost
    return [tuple(job.id for job in task) for task in tasks]


def _full(task: Sequence[Job], job: Job, seconds: float, pack: int | None, together: int) -> bool:
    """Whether a task of so many expected seconds takes no more, neither this job."""
    if len(task) >= (pack or MOST_PACKED):
        return True
    alike = bool(job.together) and len(task) < together and task[0].together == job.together
    return pack is None and not alike and seconds + job.cost > TASK_SECONDS
