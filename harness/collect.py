"""From accepted results to evidence: every score of an experiment's cells, counted against what there should be."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from configs.experiment import Experiment
from harness import provenance, result
from harness.plan import Plan
from harness.workdir import Workdir
from reports.evidence import Evidence, Value
from tasks.cell import Cell
from tasks.subset import Classifies

RUNS = "../../runs"
"""The folder of runs as seen from a report's."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def columns(cell: Cell) -> dict[str, Value]:
    """A drawn cell's values as report columns; the method is what the experiment calls it."""
    return {**cell.task.values(), "cell": cell.key, "method": cell.label, "seed": cell.seed}


def evidence(
    name: str,
    experiment: Experiment,
    plan: Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
    *,
    runs: str = RUNS,
) -> Evidence:
    """Gather what a report of this experiment may use, from the result files alone.

    Args:
        name: the report's.
        experiment: what it draws.
        plan: the accepted results.
        workdir: the work folder.
        settings: the knobs that were set.
        runs: where the runs' folders are from the report's folder; reports link to them.
    """
    drawn = [cell for cell in dict.fromkeys(experiment.cells) if cell.label]
    rows: list[Mapping[str, Value]] = []
    failed: dict[str, str] = {}
    for cell in plan.todo:  # needs come first
        reason = result.failure(workdir, cell) or plan.damaged.get(cell.key)
        broken = [need for need in cell.needs if need.key in failed]
        if reason or broken:
            failed[cell.key] = reason or (
                f"it needs cell {broken[0].short}, which failed: {failed[broken[0].key]}"
            )
    for cell in drawn:
        found = plan.done.get(cell.key)
        if found is None:
            continue
        for score in found.scores:
            rows.append(
                {
                    **columns(cell),
                    "run": found.attempt,
                    "metric": score["metric"],
                    "value": score["value"],
                    "unit": score["unit"],
                    "higher_is_better": score["higher_is_better"],
                }
            )
    return Evidence(
        experiment=name,
        title=experiment.title,
        expected=tuple(columns(cell) for cell in drawn),
        rows=tuple(rows),
        failed=failed,
        provenance={**origin(experiment, plan, settings), "runs": runs},
        kept={key: found.folder for key, found in plan.done.items()},
        classes={
            cell.task.subset.dataset.name: cell.task.subset.dataset.classes
            for cell in drawn
            if isinstance(cell.task, Classifies)
        },
    )


def evidence_of_parts(
    name: str, experiment: Experiment, plan: Plan, workdir: Workdir, settings: tuple[str, ...]
) -> dict[str, Evidence]:
    """What each report is drawn from, by its name: one report, or one for each part of the experiment.

    A part's evidence is that of its own experiment, so that its cells are called what that artefact calls them.
    """
    if not experiment.parts:
        return {name: evidence(name, experiment, plan, workdir, settings)}
    return {
        part: evidence(part, made, plan.part(part), workdir, settings, runs=f"../{RUNS}")
        for part, made in experiment.parts.items()
    }


def origin(experiment: Experiment, plan: Plan, settings: tuple[str, ...]) -> dict[str, Any]:
    """Where the numbers come from, over all runs that they rest on (pretraining included)."""
    drawn = {cell.key for cell in experiment.cells if cell.label}
    origins = [found.body["provenance"] for found in plan.done.values()]

    def distinct(*path: str) -> list[Any]:
        seen = []
        for each in origins:
            value: Any = each
            for step in path:
                value = value[step]
            if value not in seen:
                seen.append(value)
        return sorted(seen, key=str)

    return {
        "commit": ", ".join(distinct("code", "commit")),
        "dirty": any(each["code"]["dirty"] for each in origins),
        "drawn_by_commit": provenance.code()["commit"],
        "knobs": list(settings),
        "packages": distinct("packages"),
        "hosts": distinct("machine", "host"),
        "processors": distinct("machine", "processor"),
        "devices": distinct("device"),
        "data": data_of(plan),
        "cells": len(plan.cells),
        "done": len(plan.done),
        "missing": [cell.short for cell in plan.todo],
        "needed_runs": {
            cell.short: {"run": plan.done[cell.key].attempt, "scores": _scores(plan.done[cell.key])}
            for cell in plan.cells
            if cell.key not in drawn and cell.key in plan.done
        },
        "chance": dict(experiment.chance),
        "notes": list(experiment.notes),
    }


def data_of(plan: Plan) -> list[dict[str, Any]]:
    """What tells the data and files apart that the runs rest on: kind, version, and sha256 of what came from files."""
    seen: dict[str, dict[str, Any]] = {}
    for found in plan.done.values():
        for each in _identities(found.body["description"]["task"], ""):
            seen.setdefault(json.dumps(each, sort_keys=True), each)
    return [seen[text] for text in sorted(seen)]


def _identities(value: Any, name: str) -> Iterator[dict[str, Any]]:
    """The parts of a description that are data, or name content by its sha256, without what is nested in them."""
    if isinstance(value, list):
        for each in value:
            yield from _identities(each, name)
    elif isinstance(value, dict):
        plain = {key: each for key, each in value.items() if not isinstance(each, dict | list)}
        hashed = any(
            isinstance(each, str) and _SHA256.fullmatch(each)
            for key, each in plain.items()
            if key != "cell"  # another question, not data
        )
        if hashed or name == "dataset":
            yield plain
        for key, each in value.items():
            yield from _identities(each, key)


def compute(plan: Plan) -> dict[str, str]:
    """What the accepted runs took, in words by name; attempts that came to nothing are not in it."""
    used = [found.body["usage"] for found in plan.done.values()]
    busy = sum(each["elapsed_s"] * each["ranks"] for each in used)
    cpu = sum(each["cpu_s"] for each in used)
    return {
        "compute": f"{_hours(busy)} of accepted runs, summed over their processes",
        "CPU time": _hours(cpu),
    }


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:,.1f} minutes"


def _scores(found: result.Result) -> dict[str, float]:
    return {score["metric"]: score["value"] for score in found.scores}
