"""Bring an experiment's accepted results, curves and figures to MLflow: all that is not there yet."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from configs.experiment import Experiment
from harness import carried, collect, facts, files, whole_database
from harness.kept_runs import LAYOUT
from harness.plan import Plan
from harness.publish import mark_gathered, mark_ungathered, written_files
from harness.shown import Line, described, lines_of, points_of_parent
from harness.store import Store
from harness.uri import first_line, own, shown, uri
from harness.workdir import Workdir

WITHOUT_MODELS = "HARNESS_LOG_MODELS"
"""Environment variable: 0 leaves encoders out of MLflow, which spares a run of pretraining some seconds of tracing."""

PATIENCE_S = 15
"""After so many seconds, and then after twice as many each time, people are told that it goes on."""


class GatheringFailed(Exception):
    """MLflow could not be reached or written."""


def gather(
    name: str,
    experiment: Experiment,
    plan: Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
    address: str = "",
) -> int:
    """Write every accepted result of an experiment, its curves, its figures and what they are drawn from to MLflow.

    Args:
        name: of the experiment.
        experiment: what it is.
        plan: its cells and their results.
        workdir: where these lie.
        settings: its knobs.
        address: of another store than the work folder's usual one, as `harness.uri.checked` gives it.

    Returns:
        How many cells are in the store.

    Raises:
        GatheringFailed: when MLflow cannot be reached or written; the results on disk are untouched.
    """
    is_usual = not address or address == uri(workdir)
    place = address or uri(workdir)
    try:
        if is_usual:
            mark_ungathered(name, workdir)
        with _told_while_it_lasts(shown(place)):
            number = _gather_into_whole(name, experiment, plan, workdir, settings, address)
    except Exception as error:
        raise GatheringFailed(
            f"MLflow at {shown(place)} could not be written ({type(error).__name__}: {first_line(error)}); the results are "
            f"safe, `harness collect {name}` brings them home later"
        ) from error
    if is_usual:
        mark_gathered(name, workdir)
    return number


@contextmanager
def _told_while_it_lasts(place: str) -> Iterator[None]:
    """Say on stderr that it is waited for a store, and how it can be left, if that takes long."""
    is_over = threading.Event()

    def tell() -> None:
        waited_s, next_s = 0, PATIENCE_S
        while not is_over.wait(next_s - waited_s):
            sys.stderr.write(
                f"harness: still writing to MLflow at {place} ({next_s} s so far); whoever ends this loses nothing: "
                "`harness collect` goes on with it later\n"
            )
            waited_s, next_s = next_s, 2 * next_s

    teller = threading.Thread(target=tell, daemon=True, name="teller")
    teller.start()
    try:
        yield
    finally:
        is_over.set()
        teller.join()


def _gather_into_whole(
    name: str,
    experiment: Experiment,
    plan: Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
    address: str,
) -> int:
    """Gather; a database of the work folder's own that turns out to be damaged is built again, once."""
    try:
        return _gather(name, experiment, plan, workdir, settings, address)
    except Exception as error:
        place = address or uri(workdir)
        if place != own(workdir) or not whole_database.set_aside_if_damaged(place, error):
            raise
    return _gather(name, experiment, plan, workdir, settings, address)


def _gather(
    name: str,
    experiment: Experiment,
    plan: Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
    address: str,
) -> int:
    store = Store(workdir, name, address)
    parent = store.open_parent(experiment.title)
    store.forget_all_but(cell.key for cell in plan.cells)
    done = [(cell, plan.done[cell.key]) for cell in plan.cells if cell.key in plan.done]
    # As they ran: what a database sorts by time is then written where it wrote last.
    store.put(sorted(done, key=lambda each: str(each[1].body["started"])), parent)
    if os.environ.get(WITHOUT_MODELS, "1") != "0":
        for cell, found in done:
            if facts.keeps_encoder(found):
                store.put_encoder(cell, found)
    runs = {cell.key: found.attempt for cell, found in done}
    written = written_files(name, experiment, workdir)
    artifacts = {file: path for file, path in written.items() if path.suffix != ".svg"}
    kept = {file: files.sha256_of(path) for file, path in artifacts.items()}
    evidence = collect.evidence_of_parts(name, experiment, plan, workdir, settings)
    texts = carried.files_of(name, experiment, plan, settings, evidence)
    content = files.sha256(json.dumps([LAYOUT, runs, kept, texts], sort_keys=True).encode())
    curves: dict[str, list[tuple[int, float]]] = {}
    lines: list[Line] = []
    for part, gathered in evidence.items():
        curves |= points_of_parent(gathered, part if experiment.parts else "")
        lines += lines_of(gathered, part if experiment.parts else "")
    store.close_parent(experiment.title, curves, artifacts, texts, content)
    store.put_lines(lines)
    told = described(
        experiment.title, len(done), len(plan.cells), name, artifacts, has_lines=bool(lines)
    )
    store.describe(experiment.title, told)
    store.settle(runs)
    return len(done)
