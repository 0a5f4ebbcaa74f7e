"""What the verbs do when an experiment is on a cluster: find the cluster, preview, send, follow, cancel."""

from dataclasses import dataclass, replace
from typing import Any

import click

from configs import clusters
from configs.clusters import Cluster
from configs.experiment import Experiment
from harness import follow as following
from harness import launch, result, sent, submission
from harness import plan as planning
from harness import preview as previewing
from harness import send as sending
from harness.describe import plan_content, print_plan
from harness.files import to_json
from harness.plan import Plan
from harness.send import check_code as check_code
from harness.source import Source, UsageError
from harness.workdir import Workdir
from slurm import queue
from slurm.sbatch import SubmissionRefused


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What came of sending."""

    lines: tuple[str, ...]
    """For people."""
    content: dict[str, Any]
    problem: str = ""
    """Why not everything was queued; empty if it was."""


def find_cluster(words: str, ranks: int | None) -> Cluster:
    """A cluster by name or file, with the ranks of a pretraining cell from the command line.

    Raises:
        UsageError: in one sentence.
    """
    try:
        found = clusters.find(words)
        return replace(found, pretrain_ranks=ranks) if ranks else found
    except ValueError as error:
        raise UsageError(str(error)) from None


def preview(
    source: Source,
    plan: Plan,
    workdir: Workdir,
    cluster: Cluster,
    pack: int | None,
    together: int | None,
    *,
    as_json: bool,
) -> None:
    """Print what would be sent."""
    composition = sending.compose(source.name, plan, workdir, cluster, pack=pack, together=together)
    stale = planning.stale(plan, workdir)
    if as_json:
        content = {
            **plan_content(source.name, plan, stale),
            **previewing.content(composition, plan),
        }
        click.echo(to_json(content), nl=False)
        return
    print_plan(source.name, plan, stale, as_json=False)
    previewing.show(composition, plan)


def send(
    source: Source,
    experiment: Experiment,
    plan: Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
    cluster: Cluster,
    pack: int | None,
    together: int | None,
) -> Told:
    """Send what is missing and neither queues nor runs; the caller holds the lock.

    Raises:
        UsageError: when SLURM takes nothing of it, or no report could draw it.
    """
    composition = sending.compose(source.name, plan, workdir, cluster, pack=pack, together=together)
    launch.rehearse(source.name, experiment, plan, workdir, settings)
    by_key = {cell.key: cell for cell in plan.cells}
    for key in plan.damaged:
        result.set_aside(workdir, by_key[key])
    in_hand = len(composition.in_hand)
    lines = [f"{source.name}: {in_hand} cells queue or run since earlier"] if in_hand else []
    content: dict[str, Any] = {
        "experiment": source.name,
        "sent": 0,
        "in_hand": in_hand,
        "done": len(plan.done),
        "total": len(plan.cells),
    }
    if not composition.arrays:
        return Told(lines=(*lines, f"{source.name}: nothing to send"), content=content)
    try:
        queued, problem = sending.send(composition, source, workdir, settings)
    except SubmissionRefused as error:
        raise UsageError(f"SLURM took nothing: {error}") from None
    jobs = sorted({task.partition("_")[0] for task in queued.tasks}, key=int)
    content.update(sent=len(queued.cells), jobs=jobs, submission=str(queued.folder))
    lines.append(
        f"{source.name}: {len(queued.cells)} cells sent as jobs {', '.join(jobs)}; `harness status {source.name}` shows "
        f"them, `harness cancel {source.name}` ends them"
    )
    if problem:
        problem = f"not everything was sent: {problem}; mend that and run the same command again"
    return Told(lines=tuple(lines), content=content, problem=problem)


def bring_home(
    source: Source, experiment: Experiment, plan: Plan, workdir: Workdir, settings: tuple[str, ...]
) -> launch.Outcome:
    """Nothing is missing: see that it is drawn."""
    return launch.bring_home(source.name, experiment, plan, workdir, settings, {}, [])


def follow(
    source: Source, experiment: Experiment, workdir: Workdir, settings: tuple[str, ...], plan: Plan
) -> launch.Outcome:
    """Stay until all is over."""
    return following.follow(source, experiment, workdir, settings, plan)


def cancel(name: str, workdir: Workdir) -> set[str]:
    """End an experiment's jobs.

    Returns:
        Their ids.

    Raises:
        slurm.queue.NoAnswer: when SLURM cannot be asked or does not obey.
    """
    live = sent.live_jobs(workdir, name)
    for folder in live:
        # First the mark, then the signal: a job that asks about itself on its way out must find it.
        (folder / submission.CANCELLED).touch()
    jobs = {job for tasks in live.values() for job in tasks}
    queue.cancel(jobs)
    return jobs
