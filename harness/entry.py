"""A run as a tracking store is to have it, as plain values: made from a cell and its accepted result, without MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from harness import facts, result
from harness.facts import Seen
from harness.result import Result
from tasks.cell import Cell


class Point(NamedTuple):
    """A value of a metric."""

    name: str
    value: float
    time_ms: int
    """When it was measured, in milliseconds since 1970."""
    step: int


class Found(NamedTuple):
    """A run that a store has."""

    id: str
    tags: Mapping[str, str]
    """Those that were asked for, where it has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Everything of one run."""

    identity: tuple[str, ...]
    """What no other run of this experiment shares: its work folder, cell and attempt."""
    name: str
    start_ms: int
    end_ms: int
    tags: Mapping[str, str]
    closing: Mapping[str, str]
    """Tags that say that the run is whole: written with the last of it."""
    params: Mapping[str, str]
    points: Sequence[Point]
    datasets: Sequence[Seen]
    files: Sequence[Path]
    """Kept with it under their own names."""


def of_cell(
    cell: Cell, found: Result, *, folder: str, tags: Mapping[str, str], closing: Mapping[str, str]
) -> Entry:
    """The run of an accepted result.

    Args:
        cell: what it answers.
        found: the result.
        folder: identity of the work folder that it lies in.
        tags: that say what the run is to the store; those of its origin are added.
        closing: tags that say that the run is whole.
    """
    body = found.body
    end_ms = _milliseconds(body["ended"])
    # The UI draws metrics over steps, and means of groups likewise: Group by method gives the figure.
    labels = round(float(str(cell.task.values().get("labels_per_class", 0))))
    points = [Point(each["metric"], each["value"], end_ms, labels) for each in body["scores"]]
    points += [Point(name, value, end_ms, 0) for name, value in facts.usage(found).items()]
    history = body["history"]
    for name in ("loss", "learning_rate"):
        points += [
            Point(f"train/{name}", value, int(1000 * when), int(step))
            for value, when, step in zip(
                history[name], history["time"], history["step"], strict=True
            )
        ]
    return Entry(
        identity=(folder, cell.key, found.attempt),
        name=_name(cell),
        start_ms=_milliseconds(body["started"]),
        end_ms=end_ms,
        tags={
            **tags,
            "task": body["task"],
            "method": cell.label or "(needed by others)",
            **facts.tags(found),
        },
        closing=closing,
        params=facts.params(cell, found),
        points=points,
        datasets=facts.datasets(found),
        files=[
            found.cell_folder / result.NAME,
            *(found.folder / each for each in body["files"]),
        ],
    )


def _name(cell: Cell) -> str:
    """What tells the runs of a method apart comes first: the UI's table shows little more than the beginning."""
    values = cell.task.values()
    method = cell.label or f"{type(cell.task).__name__} {values.get('model', '')}".strip()
    where = values.get("dataset", "")
    if "resample" in values:
        many = values["shots"] if values["shots"] == "all" else f"{values['shots']}/class"
        return f"{many} #{values['resample']} · split {values['split']} · {method} · {where}"
    return f"{method} · {where}" if where else method


def _milliseconds(when: str) -> int:
    return int(1000 * datetime.fromisoformat(when).timestamp())
