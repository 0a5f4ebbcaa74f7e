"""Send the cells that have no answer yet, follow them, bring the answers home, draw the report."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

import click

from configs.experiment import Experiment
from harness import orphans, publish, result, sent
from harness import plan as planning
from harness.announcer import Announcer
from harness.display import Display
from harness.live import LiveGatherer
from harness.order import Order
from harness.source import Source, UsageError
from harness.workdir import Workdir
from slurm import hung
from slurm.job import Event, Job
from slurm.launcher import Inline, Launcher, OnEvent
from slurm.local import Local, visible_gpus
from tasks.cell import Cell
from tasks.task import ChecksFirst

Cluster = Literal["inline", "local"]
GATHER_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to run; nothing here can alter a result beyond rounding."""

    cluster: Cluster = "local"
    jobs: int | None = None
    """Processes at the same time; None for one per GPU, or per core where there is none."""
    ranks: int = 1
    """Processes per cell of a task that is worth several."""
    together: int | None = None
    """Cells that a process trains together, at most; None for as many as pay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a run left."""

    plan: planning.Plan
    failed: dict[str, str]
    """Why, by cell key; a cell that was not started because one it needs failed is here too."""
    drawn: dict[str, Path]
    """The report's files."""
    problems: tuple[str, ...]
    """Sentences for people: what did not go as it should beside the cells."""
    undrawn: tuple[str, ...] = ()
    """Parts whose report could not be drawn; `problems` says why."""


def jobs_of(cells: tuple[Cell, ...], ranks: int) -> list[Job]:
    """Cells as jobs."""
    return [
        Job(
            id=cell.key,
            needs=tuple(need.key for need in cell.needs),
            ranks=ranks if cell.task.parallel else 1,
            cost=cell.task.gflop(),
            together=planning.kind_together(cell),
        )
        for cell in cells
    ]


def run(
    source: Source,
    experiment: Experiment,
    plan: planning.Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
    options: Options,
) -> Outcome:
    """Run what a plan lacks; the caller holds the work folder's lock.

    Raises:
        KeyboardInterrupt: when the user asked to stop; everything finished so far is on disk.
    """
    failed: dict[str, str] = {}
    problems: list[str] = []
    if plan.todo:
        _refuse_twice(source.name, plan, workdir)
        by_key = {cell.key: cell for cell in plan.cells}
        for key in plan.damaged:
            result.set_aside(workdir, by_key[key])
        rehearse(source.name, experiment, plan, workdir, settings)
        failed, problem = _carry_out(source, experiment, plan, workdir, settings, options)
        problems += [problem] if problem else []
        plan = planning.make(experiment, workdir)
        # A worker that is killed between the acceptance of a cell and the word of it leaves a finished cell.
        failed = {key: why for key, why in failed.items() if key not in plan.done}
    return bring_home(source.name, experiment, plan, workdir, settings, failed, problems)


def _refuse_twice(name: str, plan: planning.Plan, workdir: Workdir) -> None:
    """Do not compute here what a cluster has in hand. Where SLURM cannot be asked, work goes on: results are counted once."""
    held = sent.held(workdir)
    taken = [cell for cell in plan.todo if cell.key in held and not held[cell.key].no_answer]
    if taken:
        raise UsageError(
            f"{len(taken)} cells of {name} queue or run on the cluster (such as {taken[0].short}, {held[taken[0].key]}): wait for "
            f"them, or end them with `harness cancel {name}`"
        )


def rehearse(
    name: str,
    experiment: Experiment,
    plan: planning.Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
) -> None:
    """Refuse now what would fail later: tasks that say so, and cells that no report can draw (its numbers are thrown away)."""
    for cell in plan.todo:
        if isinstance(cell.task, ChecksFirst):
            try:
                cell.task.ready()
            except ValueError as error:
                raise UsageError(f"{name}: {error}") from None
    drawings = publish.drawings_of(name, experiment, plan, workdir, settings, ("csv",))
    sentences = [each.problem for each in drawings.values() if each.problem]
    if sentences and not experiment.parts:
        raise UsageError(sentences[0])
    if len(sentences) == len(drawings):
        raise UsageError(f"{name}: nothing of it can be drawn: {sentences[0]}")
    for sentence in sentences:
        click.echo(f"harness: {sentence}; the other parts go on", err=True)


def bring_home(
    name: str,
    experiment: Experiment,
    plan: planning.Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
    failed: dict[str, str],
    problems: list[str],
) -> Outcome:
    """Draw the report of what there is and write it to MLflow, as far as that was not done already."""
    undrawn: dict[str, str] = {}
    if not publish.is_current(name, experiment, plan, workdir, settings):
        undrawn = publish.draw(name, experiment, plan, workdir, settings).problems
    if not problems and not publish.is_gathered(name, workdir):
        problems = _gather_all(name, experiment, plan, workdir, settings)
    return Outcome(
        plan=plan,
        failed=failed,
        drawn=publish.written_files(name, experiment, workdir),
        problems=(*problems, *undrawn.values()),
        undrawn=tuple(undrawn),
    )


def _carry_out(
    source: Source,
    experiment: Experiment,
    plan: planning.Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
    options: Options,
) -> tuple[dict[str, str], str]:
    cells = {cell.key: cell for cell in plan.todo}
    jobs = jobs_of(plan.todo, options.ranks)
    gpus = visible_gpus()
    if gpus and options.ranks > len(gpus):
        raise UsageError(
            f"--ranks {options.ranks}: this machine shows {len(gpus)} GPUs, and a rank needs its own"
        )
    try:
        hung.patience_s()
    except ValueError as error:
        raise UsageError(str(error)) from None
    slots = 1 if options.cluster == "inline" else options.jobs or len(gpus) or _cores()
    gatherer = LiveGatherer(source.name, experiment.title, workdir)
    for cell in plan.cells:
        if cell.key in plan.done:
            gatherer.put(cell)
    unrecorded: list[str] = []
    with (
        orphans.held(workdir) as kept,
        Display(source.name, plan.todo, len(plan.done), slots) as display,
    ):
        launcher = _launcher(source, cells, workdir, settings, options, slots, gpus, kept)

        def on_event(event: Event) -> None:
            display.on_event(event)
            if event.kind == "done":
                gatherer.put(cells[event.job])
            elif event.kind == "failed":
                try:
                    result.note_death(workdir, event.job, event.detail)
                except OSError as error:  # the display has said why; the other cells go on
                    unrecorded.append(error.strerror or str(error))
            if event.kind != "step":
                announcer.changed()

        announcer = Announcer(workdir, lambda: (display.running, display.waiting))
        try:
            with _terminated_like_interrupted():
                launcher.run(jobs, on_event)
        except BaseException:
            gatherer.finish(GATHER_TIMEOUT_S / 10)
            raise
        finally:
            announcer.close()
    gatherer.finish(GATHER_TIMEOUT_S)
    if unrecorded:
        click.echo(
            f"harness: why {len(unrecorded)} cells failed could not be written to the work folder ({unrecorded[-1]}): "
            "`harness status` will not know it",
            err=True,
        )
    problem = f"{gatherer.problem}; the results are safe, `harness collect {source.text}` brings them home later"
    return display.failed, problem if gatherer.problem else ""


def _gather_all(
    name: str,
    experiment: Experiment,
    plan: planning.Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
) -> list[str]:
    from harness.gather import (
        GatheringFailed,
        gather,
    )  # MLflow: only when there is something to gather

    try:
        gather(name, experiment, plan, workdir, settings)
    except GatheringFailed as error:
        return [str(error)]
    return []


def _launcher(
    source: Source,
    cells: dict[str, Cell],
    workdir: Workdir,
    settings: tuple[str, ...],
    options: Options,
    slots: int,
    gpus: list[str],
    kept: tuple[int, ...],
) -> Launcher:
    if options.cluster == "inline":
        return Inline(_in_this_process(source, cells, workdir, settings))
    path = workdir.root / "orders" / f"{source.name}.json"
    Order(workdir=str(workdir.root.resolve()), source=source.text, settings=settings).write(path)
    command = [sys.executable, "-m", "harness.work", str(path)]
    together = planning.most_together(options.together, gpus=bool(gpus))
    return Local(command, slots=slots, logs=workdir.logs, gpus=gpus, together=together, kept=kept)


def _in_this_process(
    source: Source, cells: dict[str, Cell], workdir: Workdir, settings: tuple[str, ...]
) -> Callable[[str, OnEvent], None]:
    from harness import work  # torch: only where cells are computed
    from slurm.ddp import joined
    from slurm.meeting import torchrun_environment
    from slurm.worker import StopFlag

    stop = StopFlag()
    order = Order(workdir=str(workdir.root.resolve()), source=source.text, settings=settings)

    def carry_out(key: str, on_event: OnEvent) -> None:
        os.environ.update(torchrun_environment(0, 1))
        before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
        stop.on_signals(*before)
        work.prepare_process()
        try:
            with joined() as ranks:
                work.Worker(order, ranks, stop, cells).carry_out(key, on_event)
        finally:  # between cells, and afterwards, Ctrl-C is the driver's again
            for each, handler in before.items():
                signal.signal(each, handler)

    return carry_out


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM to the driver is Ctrl-C: workers are told, nothing is left half-written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
