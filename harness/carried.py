"""Evidence as a tracking server carries it, so that a report can be drawn from the server alone.

A file `evidence.json` (of an experiment of parts one each, and one of the whole) has what is in no run: which cells there
should be and in which order, what failed, titles, notes, units, where things come from. It has no measured value: those come
from the cells' runs, and a digest says whether they are still those that were collected.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.experiment import Experiment
from harness import carried_form, collect, provenance
from harness.files import sha256
from harness.plan import Plan
from harness.result import Result
from reports.evidence import Evidence, Value

FORMAT = 1
FILE = "evidence.json"


class NotCarried(Exception):
    """What a server has is no evidence that this version can read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """What the page over all parts of an experiment says beside them."""

    title: str
    done: int
    cells: int
    shared: int
    """Cells that more than one part needs."""
    told: Mapping[str, str]
    """Facts for readers, such as what it took to compute."""
    provenance: Mapping[str, Any]
    chapters: Mapping[str, tuple[str, int, int]]
    """Title, cells done and cells of each part by its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """One evidence.json, read."""

    content: Mapping[str, Any]

    @property
    def drawn_by(self) -> str:
        """The drawing function as MODULE:NAME; never imported, only compared with names that are known here."""
        return str(self.content["drawn_by"])

    @property
    def runs(self) -> Mapping[str, Mapping[str, Any]]:
        """By cell: the accepted attempt, its scores without their values, the digest of these."""
        runs: Mapping[str, Mapping[str, Any]] = self.content["runs"]
        return runs

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts; none where the experiment is of one piece."""
        return tuple(self.content.get("parts", ()))


def digest(cell: str, attempt: str, values: Mapping[str, float]) -> str:
    """What tells whether a run's scores are those that were collected."""
    told = [cell, attempt, {name: float(value) for name, value in values.items()}]
    return sha256(json.dumps(told, sort_keys=True).encode())


def files_of(
    name: str,
    experiment: Experiment,
    plan: Plan,
    settings: tuple[str, ...],
    evidence: Mapping[str, Evidence],
) -> dict[str, str]:
    """Everything to carry, as text by file name; a part's as PART/evidence.json.

    Args:
        name: of the experiment.
        experiment: what it is.
        plan: its cells and their results.
        settings: its knobs.
        evidence: of its reports, as `collect.evidence_of_parts` gives it.
    """
    texts = {}
    for part, gathered in evidence.items():
        made = experiment.parts.get(part, experiment)
        own = plan.part(part) if experiment.parts else plan
        content = {
            "format": FORMAT,
            "experiment": gathered.experiment,
            "title": gathered.title,
            "drawn_by": f"{getattr(made.draw, '__module__', '')}:{getattr(made.draw, '__qualname__', '')}",
            "expected": [dict(cell) for cell in gathered.expected],
            "failed": dict(gathered.failed),
            "classes": {data: list(names) for data, names in gathered.classes.items()},
            "provenance": _without_numbers(gathered.provenance),
            "runs": _runs(own),
            "names": {cell.key: cell.short for cell in own.cells},
        }
        texts[f"{part}/{FILE}" if experiment.parts else FILE] = _json(content)
    if experiment.parts:
        told = whole(experiment, plan, settings)
        content = {
            "format": FORMAT,
            "experiment": name,
            "parts": list(experiment.parts),
            "title": told.title,
            "shared": told.shared,
            "told": dict(told.told),
            "provenance": _without_numbers(told.provenance),
            "runs": _runs(plan),
            "names": {cell.key: cell.short for cell in plan.cells},
        }
        texts[FILE] = _json(content)
    return texts


def _json(content: Mapping[str, Any]) -> str:
    # Not sorted: the order of columns and of facts is part of a report.
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _without_numbers(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance without what is measured, and without what the machine that draws says of itself."""
    needed = {each: told["run"] for each, told in origin["needed_runs"].items()}
    return {**origin, "drawn_by_commit": None, "needed_runs": needed}


def _runs(plan: Plan) -> dict[str, dict[str, Any]]:
    return {
        cell.key: {
            "run": plan.done[cell.key].attempt,
            "digest": digest(cell.key, plan.done[cell.key].attempt, values_of(plan.done[cell.key])),
            "scores": [
                {
                    **{each: score[each] for each in ("metric", "unit", "higher_is_better")},
                    "whole": isinstance(score["value"], int),
                }
                for score in plan.done[cell.key].scores
            ],
        }
        for cell in plan.cells
        if cell.key in plan.done
    }


def values_of(found: Result) -> dict[str, float]:
    """A result's scores by metric."""
    return {score["metric"]: score["value"] for score in found.scores}


def whole(experiment: Experiment, plan: Plan, settings: tuple[str, ...]) -> Whole:
    """What the page over all parts says, from results."""
    return Whole(
        title=experiment.title,
        done=len(plan.done),
        cells=len(plan.cells),
        shared=len(plan.shared()),
        told={**collect.compute(plan), "knobs": ", ".join(settings) or "none set"},
        provenance=collect.origin(experiment, plan, settings),
        chapters={
            part: (made.title, len(plan.part(part).done), len(plan.part(part).cells))
            for part, made in experiment.parts.items()
        },
    )


def read(text: str, name: str) -> Carried:
    """Read an evidence.json, of which nothing is believed before it was checked.

    Args:
        text: what is in it.
        name: of the report or the experiment that it has to be of.

    Raises:
        NotCarried: when it is none of this version, or anything in it is not what it must be.
    """
    try:
        content = carried_form.parsed(text)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise NotCarried(
                f"its {FILE} was written by another version of this harness: `harness collect` it again"
            )
        carried_form.check(content, name)
    except ValueError as error:
        raise NotCarried(
            f"its {FILE} is not what `harness collect` writes ({error}): `harness collect` it again"
        ) from None
    return Carried(content=content)


def fit(whole: Carried, parts: Mapping[str, Carried]) -> None:
    """See that parts have the cells and runs of the whole.

    Raises:
        NotCarried: when they have others.
    """
    try:
        carried_form.check_parts(
            whole.content, {part: told.content for part, told in parts.items()}
        )
    except ValueError as error:
        raise NotCarried(
            f"{FILE} contradicts itself ({error}): `harness collect` it again"
        ) from None


def evidence(
    carried: Carried,
    values: Mapping[str, Mapping[str, float]],
    lost: Mapping[str, str],
    kept: Mapping[str, Path],
) -> Evidence:
    """Evidence from what is carried and the values that runs have.

    Args:
        carried: of one report.
        values: metric to value by cell, of the runs that can be believed.
        lost: why another cell has none, by its key.
        kept: folders of accepted runs by cell.
    """
    content = carried.content
    rows: list[Mapping[str, Value]] = []
    for cell in content["expected"]:
        key = cell["cell"]
        for score in carried.runs[key]["scores"] if key in values else ():
            rows.append(
                {
                    **cell,
                    "run": carried.runs[key]["run"],
                    "metric": score["metric"],
                    "value": _value(values[key], score),
                    "unit": score["unit"],
                    "higher_is_better": score["higher_is_better"],
                }
            )
    return Evidence(
        experiment=content["experiment"],
        title=content["title"],
        expected=tuple(content["expected"]),
        rows=tuple(rows),
        failed={**content["failed"], **{each: lost[each] for each in carried.runs if each in lost}},
        provenance=_with_numbers(carried, values),
        kept=kept,
        classes={data: tuple(listed) for data, listed in content["classes"].items()},
    )


def _with_numbers(carried: Carried, values: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Provenance as `collect.origin` gives it, of the runs that can be believed."""
    origin, names = carried.content["provenance"], carried.content["names"]
    cells = {names[cell]: cell for cell in carried.runs if cell in values}
    return {
        **origin,
        "drawn_by_commit": provenance.code()["commit"],
        "done": len(cells),
        "missing": [short for short in names.values() if short not in cells],
        "needed_runs": {
            short: {
                "run": run,
                "scores": {
                    score["metric"]: _value(values[cells[short]], score)
                    for score in carried.runs[cells[short]]["scores"]
                },
            }
            for short, run in origin["needed_runs"].items()
            if short in cells
        },
    }


def _value(values: Mapping[str, float], score: Mapping[str, Any]) -> float:
    value = values[score["metric"]]
    return int(value) if score["whole"] else value  # MLflow knows no whole numbers


def is_whole(values: Mapping[str, float], scores: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a run has every score, each a finite number, and a whole one where it has to be."""
    found = [(values.get(score["metric"], math.nan), score["whole"]) for score in scores]
    return all(math.isfinite(value) and (value.is_integer() or not whole) for value, whole in found)


def whole_of(
    carried: Carried, parts: Mapping[str, Carried], values: Mapping[str, Mapping[str, float]]
) -> Whole:
    """What the page over all parts says, from what is carried and the values of the runs that can be believed."""
    content = carried.content
    return Whole(
        title=content["title"],
        done=sum(cell in values for cell in carried.runs),
        cells=len(content["names"]),
        shared=content["shared"],
        told=content["told"],
        provenance=_with_numbers(carried, values),
        chapters={
            name: (
                part.content["title"],
                sum(cell in values for cell in part.runs),
                len(part.content["names"]),
            )
            for name, part in parts.items()
        },
    )
