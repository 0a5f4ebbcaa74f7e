"""Bring an experiment's accepted results, curves and figures to MLflow: all that is not there yet."""

import json

from configs.experiment import Experiment
from harness import collect, files, shown
from harness.plan import Plan
from harness.publish import mark_gathered, written_files
from harness.store import Store
from harness.uri import place_of_store
from harness.workdir import Workdir


class GatheringFailed(Exception):
    """MLflow could not be reached or written."""


def gather(
    name: str, experiment: Experiment, plan: Plan, workdir: Workdir, settings: tuple[str, ...]
) -> int:
    """Write every accepted result of an experiment, its curves and its figures to MLflow.

    Returns:
        How many cells are in the store.

    Raises:
        GatheringFailed: when MLflow cannot be reached or written; the results on disk are untouched.
    """
    try:
        number = _gather(name, experiment, plan, workdir, settings)
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise GatheringFailed(
            f"MLflow at {place_of_store(workdir)} could not be written ({type(error).__name__}: {line})"
        ) from error
    mark_gathered(name, workdir)
    return number


def _gather(
    name: str, experiment: Experiment, plan: Plan, workdir: Workdir, settings: tuple[str, ...]
) -> int:
    store = Store(workdir, name)
    parent = store.open_parent(experiment.title)
    store.forget_all_but(cell.key for cell in plan.cells)
    for cell in plan.cells:
        if cell.key in plan.done:
            store.put(cell, plan.done[cell.key], parent)
    runs = {cell.key: plan.done[cell.key].attempt for cell in plan.cells if cell.key in plan.done}
    written = written_files(name, experiment, workdir)
    artifacts = {file: path for file, path in written.items() if path.suffix != ".svg"}
    kept = {file: files.sha256_of(path) for file, path in artifacts.items()}
    content = files.sha256(json.dumps([runs, kept], sort_keys=True).encode())
    curves: dict[str, list[tuple[int, float]]] = {}
    lines: list[shown.Line] = []
    evidence = collect.evidence_of_parts(name, experiment, plan, workdir, settings)
    for part, gathered in evidence.items():
        curves |= shown.points_of_parent(gathered, part if experiment.parts else "")
        lines += shown.lines(gathered, part if experiment.parts else "")
    store.close_parent(experiment.title, curves, artifacts, content)
    store.put_lines(lines)
    done, cells = len(plan.done), len(plan.cells)
    told = shown.described(experiment.title, done, cells, name, artifacts, has_lines=bool(lines))
    store.describe(experiment.title, told)
    return len(plan.done)
