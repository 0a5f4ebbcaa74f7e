"""Several cells on one rank, trained as one stacked model: which may be, and how each of them ends.

Training is all that they share. Each has its own attempt, log, checkpoints, predictions and result, and is accepted
or fails by itself; its provenance names the cells that it was trained with. Whatever goes wrong with training them
together, they are left to be done one after the other.
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from harness import attempt, checkpoint, fitting, loop, memory, result, together
from harness import plan as planning
from harness.attempt import Attempt
from harness.loop import Trained
from harness.order import Order
from harness.soundness import DivergedError
from harness.together import Member
from harness.workdir import Workdir
from slurm.ddp import Ranks
from slurm.job import Event, Interrupted, in_one_line
from slurm.launcher import OnEvent
from tasks.cell import Cell
from tasks.task import TrainsTogether

LOG = logging.getLogger(__name__)


def form(cells: Sequence[Cell], workdir: Workdir) -> list[dict[str, Cell]]:
    """Groups of two and more cells, by key, that have no result and can be trained together from where they are.

    Cells that went on before, alone or in another group, are with those after equally many steps.
    """
    groups: defaultdict[tuple[str, int], dict[str, Cell]] = defaultdict(dict)
    for cell in cells:
        kind = planning.kind_together(cell)
        if kind and not (workdir.accepted(cell.key).exists() or planning.take_up(cell, workdir)):
            found = checkpoint.newest(result.attempts(workdir, cell), cell=cell.key)
            groups[kind, found[0] if found else 0][cell.key] = cell
    return [each for each in groups.values() if len(each) > 1]


def carry_out(
    cells: Mapping[str, Cell],
    workdir: Workdir,
    *,
    order: Order,
    ranks: Ranks,
    stop: Callable[[], bool],
    on_event: OnEvent,
) -> set[str]:
    """Do the cells of one group, and tell how each ended.

    Args:
        cells: by key, as `form` gives them.
        workdir: the work folder.
        order: with what the worker was started.
        ranks: this process's place, alone.
        stop: whether to leave at the next step boundary.
        on_event: told how far training is, and how cells end.

    Returns:
        Keys of the cells that are still to be done, alone: they could not be trained together.

    Raises:
        Interrupted: when a stop was asked for; every cell has a result, or can be taken up from its checkpoint.
        Exception: an error on a GPU, which this process may not get over: it should end, and cells be given out again.
    """
    began, cpu = time.monotonic(), time.process_time()
    earlier = {key: result.attempts(workdir, cell) for key, cell in cells.items()}
    folders = {key: result.new_attempt(workdir, cell) for key, cell in cells.items()}
    begun: dict[str, Attempt] = {}
    failed: dict[str, str] = {}

    def on_step(step: int, steps: int) -> None:
        for key in begun:
            on_event(Event(kind="step", job=key, step=step, steps=steps))

    with attempt.logged_in_each([folder / "log.txt" for folder in folders.values()]):
        for key, cell in cells.items():
            try:
                with attempt.noted(folders[key], ranks):
                    begun[key] = attempt.begin(
                        cell,
                        workdir,
                        folders[key],
                        earlier=[*earlier[key], folders[key]],
                        order=order,
                        ranks=ranks,
                    )
            except Exception as error:  # noqa: BLE001 - noted; the others go on
                failed[key] = in_one_line(error)
        left: set[str] = set()
        ended: dict[str, Trained | DivergedError] = {}
        try:
            if begun:
                members, left = _members(begun.values())
                names = " ".join(sorted(begun[each.key].cell.short for each in members))
                LOG.info("%d cells are trained together: %s", len(members), names)
                for key in left:
                    LOG.info("cell %s begins elsewhere: it is done alone", cells[key].short)
                ended = together.train(
                    members,
                    device=ranks.device,
                    should_stop=stop,
                    on_step=on_step,
                )
        except Interrupted as error:
            LOG.info("%s", error)
            raise
        except Exception as error:
            memory.advise(error)
            LOG.exception("these cells could not be trained together: they are done one by one")
            if _outlasts(error, ranks):
                raise
            left = set(begun)
    # A share of the time each, so that the times of cells add up to that of the process.
    elapsed_s = (time.monotonic() - began) / max(1, len(ended))
    cpu_s = (time.process_time() - cpu) / max(1, len(ended))
    for key, outcome in ended.items():
        own = begun[key].of_group(list(ended), elapsed_s=elapsed_s, cpu_s=cpu_s)
        try:
            _finish(own, outcome, len(ended), ranks, stop)
        except Interrupted:
            raise
        except Exception as error:
            if _outlasts(error, ranks):
                raise
            failed[key] = in_one_line(error)
        else:
            on_event(Event(kind="done", job=key))
    for key, why in failed.items():
        on_event(Event(kind="failed", job=key, detail=why))
    return left


def _outlasts(error: Exception, ranks: Ranks) -> bool:
    """Whether an error may have left the device in a state in which the cells that follow fail, too."""
    own = isinstance(error, DivergedError | torch.OutOfMemoryError)
    return ranks.device.type == "cuda" and not own


def _members(begun: Iterable[Attempt]) -> tuple[list[Member], set[str]]:
    """Those that go on from equally many steps, as most do, and the keys of the others.

    `form` looks at whole checkpoints; one that does not fit its model is found out here, and its cell is behind the others.
    """
    members = [_member(each) for each in begun]
    firsts = Counter(0 if each.start is None else each.start[0] for each in members)
    (first, _), *_ = firsts.most_common()
    behind = {each.key for each in members if (each.start[0] if each.start else 0) != first}
    return [each for each in members if each.key not in behind], behind


def _member(begun: Attempt) -> Member:
    task, passed = begun.cell.task, list[str]()
    assert isinstance(task, TrainsTogether)  # `form` takes no other
    build = partial(loop.build_optimizer, task.schedule)
    fits = fitting.to_resume(begun.model, task.schedule.steps, build)
    start = checkpoint.newest(begun.earlier, cell=begun.cell.key, check=fits, passed=passed)
    return Member(
        key=begun.cell.key,
        task=task,
        seed=begun.cell.seed,
        model=begun.model,
        folder=begun.folder,
        start=start,
        passed_over=tuple(passed),
    )


def _finish(
    begun: Attempt,
    ended: Trained | DivergedError,
    num_cells: int,
    ranks: Ranks,
    stop: Callable[[], bool],
) -> None:
    """Finish an attempt after the common training, in its own log."""
    log: Path = begun.folder / "log.txt"
    with attempt.logged(log), attempt.noted(begun.folder, ranks):
        if isinstance(ended, DivergedError):
            raise ended
        own = replace(ended, seconds=ended.seconds / num_cells)
        attempt.finish(begun, own, ranks=ranks, stop=stop)
