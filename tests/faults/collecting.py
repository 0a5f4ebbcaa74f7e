"""A folder of made-up results, and collectors of it that are killed: processes of their own, forked from one that has imported all."""

import json
import multiprocessing
import os
import random
import signal
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

from configs.fig12 import fig12
from harness import files, plan, result
from harness.workdir import Workdir
from tests.benchmarks.many_runs import PREDICTED, body_of

SETTINGS = ("shots=1", "resamples=2", "units=4")
NUM_CELLS = 7  # three methods, two resamples, and the pretraining they share


def made_up(folder: Path) -> Workdir:
    """A work folder with an accepted result for every cell."""
    workdir = Workdir(folder)
    workdir.prepare()
    draws = random.Random(0)
    kept: dict[str, str] = {}
    with mock.patch("os.fsync", return_value=None):
        for number, cell in enumerate(fig12(shots=(1,), resamples=2, units=4).all_cells()):
            predictions, accuracy = draws.choice(PREDICTED)
            kept[cell.key] = files.sha256(predictions)
            attempt = result.new_attempt(workdir, cell)
            body = body_of(cell, draws, accuracy, kept, number)
            result.seal(attempt, body, {"predictions.parquet": predictions})
            result.accept(attempt)
    workdir.remember("fig12", source="fig12", settings=SETTINGS)
    return workdir


def gather(workdir: Workdir, name: str = "fig12", address: str = "") -> None:
    """Collect all of it in this process, without drawing."""
    from harness.gather import gather as into_mlflow

    experiment = fig12(shots=(1,), resamples=2, units=4)
    made = plan.make(experiment, workdir)
    assert not made.todo
    into_mlflow(name, experiment, made, workdir, SETTINGS, address)


def gather_and_die(folder: str, at: str, number: float, told: str) -> None:
    """Collect, and be killed.

    Args:
        folder: the work folder.
        at: what counts: "point" of writing, "statement" of SQL, or "second".
        number: of these after which the kill comes; 0 for none.
        told: file that gets how many of each there were, if nothing happened.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from tasks.data import writing

    counters = {"point": count(1), "statement": count(1)}
    reached = {"point": 0, "statement": 0}

    def passed(what: str) -> None:
        reached[what] = next(counters[what])
        if what == at and reached[what] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    writing.reached = lambda point, path: passed("point")
    for name in ("before_cursor_execute", "after_cursor_execute"):
        event.listen(Engine, name, lambda *_: passed("statement"))
    event.listen(Engine, "commit", lambda _: passed("statement"))
    if at == "second" and number:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # it ends the process wherever that is
        signal.setitimer(signal.ITIMER_REAL, number)
    os.environ["HARNESS_LOG_MODELS"] = "0"
    gather(Workdir(Path(folder)))
    Path(told).write_text(json.dumps(reached))


def collector(workdir: Workdir, at: str, number: float, told: Path) -> int:
    """Run one in a process of its own; returns its exit code, negative for a signal."""
    processes: Any = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["harness.gather", "harness.store", __name__])
    child = processes.Process(
        target=gather_and_die, args=(str(workdir.root), at, number, str(told))
    )
    child.start()
    with closing(child):
        child.join()
        return int(child.exitcode)


def of_results(workdir: Workdir) -> tuple[Any, plan.Plan]:
    """The experiment that they are of, and what of it is there."""
    experiment = fig12(shots=(1,), resamples=2, units=4)
    return experiment, plan.make(experiment, workdir)
