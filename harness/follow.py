"""Follow what was sent to a cluster, from any process, until nothing queues or runs any more."""

import time

from configs.experiment import Experiment
from harness import launch, sent, status
from harness import plan as planning
from harness.display import Display
from harness.source import Source
from harness.workdir import Workdir
from slurm.job import Event
from slurm.queue import NoAnswer

FIRST_POLL_S, LONGEST_POLL_S = 1.0, 15.0
PATIENCE_S = 600.0
"""How long another process may hold the work folder at the end."""
SILENCE_S = 1800.0
"""How long SLURM may give no answer before following gives up; the jobs go on."""


def follow(
    source: Source,
    experiment: Experiment,
    workdir: Workdir,
    settings: tuple[str, ...],
    plan: planning.Plan,
) -> launch.Outcome:
    """Show the cells of a plan until all are over, then see that the report is drawn.

    Raises:
        NoAnswer: when SLURM gave no answer for SILENCE_S.
    """
    cells = plan.todo
    last: dict[str, str] = {}
    with Display(source.name, cells, len(plan.done), slots=max(1, len(cells))) as display:
        pause, answered = FIRST_POLL_S, time.monotonic()
        keys = {cell.key for cell in cells}
        while True:
            # First where cells are, then which are done: a result that comes in between is not taken for lost.
            places = sent.look(workdir)
            plan = planning.refresh(plan, workdir)
            found = status.look(plan, workdir, places)
            for each in found:
                if each.key in keys:
                    _tell(display, each, last)
            try:
                busy = any(sent.live_jobs(workdir, source.name).values())
                answered = time.monotonic()
            except NoAnswer:
                if time.monotonic() - answered > SILENCE_S:
                    raise
                busy = True
            if not busy:
                break
            time.sleep(pause)
            pause = min(LONGEST_POLL_S, pause * 1.2)
    plan = planning.make(experiment, workdir)
    failed = {
        each.key: each.detail or each.state
        for each in status.look(plan, workdir)
        if each.state != "done"
    }
    with workdir.locked(f"harness run {source.name}", patience_s=PATIENCE_S):
        return launch.bring_home(source.name, experiment, plan, workdir, settings, failed, [])


def _tell(display: Display, each: status.CellStatus, last: dict[str, str]) -> None:
    """Turn a change of a cell's state into the events that a launcher would have told."""
    before = last.get(each.key, "waiting")
    if each.state == before:
        return
    last[each.key] = each.state
    if each.state == "running":
        display.on_event(Event(kind="started", job=each.key))
    elif each.state == "done":
        if before == "waiting":
            display.on_event(Event(kind="started", job=each.key))
        display.on_event(Event(kind="done", job=each.key))
    elif each.state == "waiting":
        display.on_event(Event(kind="lost", job=each.key, detail=each.detail))
    else:
        display.on_event(Event(kind="failed", job=each.key, detail=each.detail or each.state))
