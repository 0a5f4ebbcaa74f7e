"""Before a run gives out cells: what earlier ones left that were killed is waited for, taken up, or cleared away."""

from collections.abc import Callable

from configs.experiment import Experiment
from harness import orphans, result
from harness import plan as planning
from harness.plan import Plan
from harness.workdir import Workdir
from tasks.data import writing

SWEPT = ("orders", "experiments", "reports/*", "reports/*/*", "submissions/*", "submissions/*/*")
"""Folders of a work folder, beside those of cells, in which it writes."""


def settled(experiment: Experiment, workdir: Workdir, say: Callable[[str], None]) -> Plan:
    """What an experiment lacks once everything that killed runs left is settled; the caller holds the folder's lock.

    Workers that have lost their driver are waited for. Attempts that were sealed but not yet accepted are: they are not done
    again. Files that were never written to an end go, and so do the checkpoints of cells that are done.

    Args:
        experiment: what is to be run.
        workdir: where.
        say: told in sentences what was found.

    Raises:
        WorkdirBusy: when workers without a driver do not leave.
    """
    orphans.wait(workdir, say)
    plan = planning.make(experiment, workdir)
    taken = [
        cell
        for cell in plan.todo  # needs come first
        if cell.key not in plan.damaged and planning.take_up(cell, workdir)
    ]
    for cell in taken:
        say(f"cell {cell.short} was finished when its process was killed: its result is accepted")
    if taken:
        plan = planning.make(experiment, workdir)
    for folder in (
        workdir.root,
        *(each for place in SWEPT for each in workdir.root.glob(place)),
    ):
        writing.remove_abandoned(folder)
    for cell in plan.cells:
        attempts = result.attempts(workdir, cell)
        for folder in (workdir.cell(cell), *attempts):
            writing.remove_abandoned(folder)
        if cell.key in plan.done:
            result.discard_checkpoints(attempts)
    return plan
