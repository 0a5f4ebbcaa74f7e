"""Send the cells that have no answer yet to a cluster: arrays, dependencies between them, and a closing job."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from configs.clusters import Cluster
from harness import files, provenance, sent, submission
from harness import plan as planning
from harness.order import Order
from harness.plan import Plan
from harness.source import Source, UsageError
from harness.submission import Submission
from harness.workdir import Workdir
from slurm import arrays, sbatch
from slurm.arrays import Array
from slurm.job import Job
from slurm.sbatch import Request, SubmissionRefused
from tasks.cell import Cell

CELL_S = 0.5
"""Expected seconds that any cell takes, however small."""
CLOSING_MEMORY_GB = 1.5
"""For MLflow and the plots."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Composition:
    """Everything that a submission will be, before anything is sent."""

    folder: Path
    experiment: str
    cluster: Cluster
    arrays: tuple[Array, ...]
    in_hand: Mapping[str, sent.Sent]
    """Cells that lack a result and are not sent: they queue or run."""
    together: int = 1
    """Cells that a process trains together, at most, of those of its task."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """What tells which of them may be, by key (`plan.kind_together`)."""

    @property
    def job_name(self) -> str:
        """What its jobs are called."""
        return submission.job_name(self.experiment, self.folder)

    @property
    def num_cells(self) -> int:
        """Cells to send."""
        return sum(len(task) for array in self.arrays for task in array.tasks)

    def request(self, array: Array, ids: Mapping[str, str]) -> Request:
        """An array as sbatch gets it; `ids` are SLURM's, of the arrays sent before."""
        after = [
            ids.get(name, f"<{name}>") + ("" if index is None else f"_{index}")
            for name, index in array.after
        ]
        after += array.after_sent
        return replace(
            self._request(array.name, array.ranks // array.nodes),
            tasks=len(array.tasks),
            nodes=array.nodes,
            dependency=(sbatch.afterok if array.only_if_ok else sbatch.afterany)(after),
        )

    def closing(self, ids: Mapping[str, str]) -> Request:
        """The one-CPU job that draws at the end, whatever happened."""
        memory = max(CLOSING_MEMORY_GB, self.cluster.memory_gb) if self.cluster.memory_gb else 0.0
        return replace(
            self._request("", 1),
            module="harness.closing",
            words=(str(self.folder),),
            gpus_per_node=0,
            cpus_per_node=1,
            memory_gb=memory,
            dependency=sbatch.afterany(
                [ids.get(each.name, f"<{each.name}>") for each in self.arrays if not ids or each.name in ids]
            ),
        )  # fmt: skip

    def _request(self, array: str, ranks_per_node: int) -> Request:
        return request_of(
            self.cluster,
            name=self.job_name,
            folder=self.folder / "logs",
            module="harness.array_task",
            words=(str(self.folder), array),
            ranks_per_node=ranks_per_node,
        )


def request_of(
    cluster: Cluster,
    *,
    name: str,
    folder: Path,
    module: str,
    words: tuple[str, ...],
    ranks_per_node: int,
) -> Request:
    """What is asked of a cluster for this many processes on one node."""
    return Request(
        name=name,
        folder=folder,
        module=module,
        words=words,
        ranks_per_node=ranks_per_node,
        python=cluster.python,
        partition=cluster.partition,
        account=cluster.account,
        qos=cluster.qos,
        constraint=cluster.constraint,
        gpus_per_node=ranks_per_node if cluster.gpus_per_node else 0,
        cpus_per_node=cluster.cpus_per_task * ranks_per_node,
        memory_gb=cluster.memory_gb * ranks_per_node,
        time_min=cluster.time_min,
        max_parallel=cluster.max_parallel,
        setup=cluster.setup,
        requeue=cluster.requeue,
    )


def compose(
    name: str,
    plan: Plan,
    workdir: Workdir,
    cluster: Cluster,
    *,
    pack: int | None,
    together: int | None = None,
) -> Composition:
    """Decide what is sent; reads, changes nothing.

    Args:
        name: the experiment's.
        plan: what there is and what is missing.
        workdir: the work folder.
        cluster: where to.
        pack: cells of a task; None for as many as take about two minutes.
        together: cells that a process trains together, at most; None for as many as pay and happen to share a task.

    Raises:
        UsageError: when the work folder's name cannot be given to SLURM.
        slurm.queue.NoAnswer: when cells were sent before and SLURM cannot be asked whether they queue or run.
    """
    folder = submission.new_folder(workdir)
    try:
        sbatch.check_folder(folder)
    except ValueError as error:
        raise UsageError(str(error)) from None
    in_hand = sent.held(workdir)
    unknown = next((place for place in in_hand.values() if place.no_answer), None)
    if unknown:
        raise sent.unknown(unknown.no_answer, len(in_hand))
    todo = [
        cell
        for cell in plan.todo
        if cell.key not in in_hand
        # Not one whose result came while SLURM was asked; a damaged one is set aside before sending.
        and (cell.key in plan.damaged or not workdir.accepted(cell.key).exists())
    ]
    jobs = [job_of(cell, cluster) for cell in todo]
    shaped = arrays.shape(
        jobs,
        sent={key: place.task for key, place in in_hand.items()},
        pack=pack,
        together=together or 1,
        array_limit=cluster.array_limit,
    )
    wanted = {cell.key for cell in plan.todo}
    return Composition(
        folder=folder,
        experiment=name,
        cluster=cluster,
        arrays=tuple(shaped),
        in_hand={key: place for key, place in in_hand.items() if key in wanted},
        together=planning.most_together(together, gpus=cluster.gpus_per_node > 0),
        kinds={job.id: job.together for job in jobs if job.together},
    )


def job_of(cell: Cell, cluster: Cluster) -> Job:
    """A cell as a job; its cost is expected seconds."""
    nodes, ranks = (
        (cluster.pretrain_nodes, cluster.pretrain_nodes * cluster.pretrain_ranks)
        if cell.task.parallel
        else (1, 1)
    )
    return Job(
        id=cell.key,
        needs=tuple(need.key for need in cell.needs),
        ranks=ranks,
        nodes=nodes,
        cost=CELL_S + cell.task.gflop() / cluster.expected_gflops / ranks,
        together=planning.kind_together(cell),
    )


def check_code(*, allow_dirty: bool) -> str:
    """See that the code that will run is the code that is submitted.

    Returns:
        A sentence for people where that cannot be held; otherwise nothing.

    Raises:
        UsageError: when it was altered since its commit and nobody allowed that.
    """
    code = provenance.code()
    if code["dirty"] and not allow_dirty:
        raise UsageError(
            f"the code was altered since commit {code['commit'][:12]}: commit it, so that results say which code made "
            "them, or add --allow-dirty"
        )
    if code["dirty"] is None:
        return (
            "this installation is no git checkout: results will not say which commit made them, and nothing notices "
            "if it is changed while jobs queue"
        )
    return ""


def send(
    composition: Composition, source: Source, workdir: Workdir, settings: tuple[str, ...]
) -> tuple[Submission, str]:
    """Submit everything; the caller holds the work folder's lock.

    Returns:
        What was queued, and why not everything was (empty if it was).

    Raises:
        SubmissionRefused: when nothing was.
    """
    folder = composition.folder
    Order(
        workdir=str(workdir.root.resolve()),
        source=source.text,
        settings=settings,
        code=provenance.code(),
    ).write(folder / "order.json")
    ids: dict[str, str] = {}
    cells: dict[str, str] = {}
    queued = Submission(folder=folder, experiment=composition.experiment, cells=cells)
    pending = ""
    cluster = composition.cluster
    try:
        for array in composition.arrays:
            request = composition.request(array, ids)
            files.write_json(
                folder / f"{array.name}.json",
                {
                    "tasks": array.tasks,
                    "ranks_per_node": request.ranks_per_node,
                    "gpus": request.gpus_per_node,
                    "requeue": cluster.requeue,
                    "together": composition.together,
                    "kinds": {
                        key: composition.kinds[key]
                        for task in array.tasks
                        for key in task
                        if key in composition.kinds
                    },
                },
            )
            # A driver that dies between the two leaves a job whose id nobody wrote down; its name finds it again.
            pending = array.name
            replace(queued, pending=pending).write()
            ids[array.name] = sbatch.submit(request)
            for index, task in enumerate(array.tasks):
                cells.update((key, f"{ids[array.name]}_{index}") for key in task)
            pending = ""
            queued.write()  # after each array: whatever happens now, it is known what was queued
        queued = replace(queued, closing=sbatch.submit(composition.closing(ids)))
        queued.write()
    except SubmissionRefused as error:
        # An sbatch that "timed out" may have queued its job all the same: what is pending stays on record.
        queued = replace(queued, pending=pending)
        if not ids:
            queued.write()
            raise
        with suppress(SubmissionRefused):  # what was queued is drawn when it is over
            queued = replace(queued, closing=sbatch.submit(composition.closing(ids)))
        queued.write()
        return queued, str(error)
    return queued, ""
