"""What MLflow's pages show first of an experiment: a figure's lines as runs of their own, and the tables in words.

MLflow lays runs over each other in a chart where they have a metric of the same name, so every line of a figure is a run:
its metrics have the number of labelled videos per class as their step. Nothing here speaks to MLflow.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness import facts, files
from reports.evidence import Evidence, Value
from reports.frame import curve
from reports.style import look

HEADLINE = "video_accuracy"
LENGTH = 5000
"""Characters of a description: MLflow takes 8,000, and nobody reads so many."""

Points = list[tuple[int, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a figure: one method on one set of videos."""

    method: str
    dataset: str
    part: str
    """The part of the experiment whose figure it is in; empty where there are no parts."""
    colour: str
    """The same as in the figure, "#rrggbb"."""
    points: Mapping[str, Points]
    """(step, value) by the metric's name: the mean, the mean less and plus one sd, the sd, the number of resamples."""
    words: str
    """What the numbers are."""

    @property
    def name(self) -> str:
        """What people call it."""
        place = f"{self.part}, {self.dataset}" if self.part else self.dataset
        return f"{self.method} · {place}"

    def digest(self) -> str:
        """Identifies all of it."""
        told = [self.method, self.dataset, self.part, self.colour, dict(self.points), self.words]
        return files.sha256(json.dumps(told, sort_keys=True).encode())


def lines_of(evidence: Evidence, part: str = "") -> list[Line]:
    """The lines that a report draws against labelled videos per class, in its order; none if it draws no such thing.

    Where all of a set's points have the same number of labels there is nothing to draw them against: they stand at step 0,
    which MLflow shows as bars.
    """
    found = []
    before = f"{part}/" if part else ""
    methods = list(dict.fromkeys(str(cell["method"]) for cell in evidence.expected))
    for place, points in _places(evidence).items():
        steps = {_labels(point) for point in points}
        under = facts.name(f"{before}{place}")  # the charts stand under this heading
        for method in dict.fromkeys(str(point["method"]) for point in points):
            drawn: dict[str, Points] = {}
            for point in points:
                if point["method"] == method:
                    step = _labels(point) if len(steps) > 1 else 0
                    told = {
                        f"{under}/{bound} {HEADLINE}": value
                        for bound, value in _spread(point).items()
                    }
                    told[f"sd of {HEADLINE}"] = _number(point["sd"])
                    told["resamples"] = _number(point["n"])
                    for name, value in told.items():
                        if math.isfinite(value):  # an sd of one resample does not exist
                            drawn.setdefault(name, []).append((step, value))
            against = "Step: labelled videos per class. " if len(steps) > 1 else ""
            found.append(
                Line(
                    method=method,
                    dataset=place,
                    part=part,
                    colour=look(methods.index(method)).colour,
                    points=drawn,
                    words=f"{against}mean: over the resampled training subsets; lower, upper: mean less and plus one sd "
                    f"(ddof = 1); in percent. The runs behind it: params.method = \"{method}\" and tags.role = 'cell'",
                )
            )
    return found


def points_of_parent(evidence: Evidence, part: str = "") -> dict[str, Points]:
    """The same numbers for the run that stands for the experiment as a whole: a metric for every line and bound."""
    curves: dict[str, Points] = {}
    before = f"{part}/" if part else ""
    for place, points in _places(evidence).items():
        for point in points:
            spread = _spread(point)
            drawn = {"": spread["mean"], "/sd": _number(point["sd"])}
            drawn |= {f"/{bound}": spread[bound] for bound in ("lower", "upper")}
            for suffix, value in drawn.items():
                if math.isfinite(value):
                    name = facts.name(f"{before}{HEADLINE}/{place}/{point['method']}{suffix}")
                    curves.setdefault(name, []).append((_labels(point), value))
    return curves


def described(
    title: str, done: int, cells: int, lead: str, written: Mapping[str, Path], *, has_lines: bool
) -> str:
    """Markdown for the experiment's run: where to look, and the report's tables as far as they fit.

    Args:
        title: the experiment's.
        done: how many of its cells have a result.
        cells: how many there are.
        lead: name of the experiment, as its report's files are called.
        written: the report's files by name.
        has_lines: whether there are runs of lines to look at.
    """
    pictures = [name for name in written if name.endswith((".png", ".gif"))]
    kept = ", ".join(f"`{name}`" for name in [*pictures, f"{lead}.html"] if name in written)
    head = [
        f"**{title}**",
        f"{done} of {cells} cells have a result.",
        "\n".join(
            [
                *([f"- Figures and tables: tab *Artifacts* ({kept})"] if kept else []),
                *(
                    [
                        "- Methods laid over each other: back to *Runs*, then the chart symbol left of the search field"
                    ]
                    if has_lines
                    else []
                ),
                '- Single cells: the box before this run\'s name opens the list; `params.method = "..."` finds those of a '
                "method, *Group by* `method` gives mean and range of those that the list has loaded",
            ]
        ),
    ]
    tables = written.get(f"{lead}.md")
    blocks = [] if tables is None else tables.read_text(encoding="utf-8").split("\n\n")
    room = LENGTH - sum(len(block) + 2 for block in head)
    body: list[str] = []
    for block in (each.strip() for each in blocks):
        if block.startswith(("# ", "![")) or not block:
            continue
        room -= len(block) + 2
        if room < 0:
            body.append(f"The rest is in `{lead}.md` (tab *Artifacts*).")
            break
        body.append(block)
    return "\n\n".join([*head, *body])


def _places(evidence: Evidence) -> dict[str, list[dict[str, object]]]:
    """Points with a mean, by set of videos; a stream of several on one set counts as a set of its own."""
    if not any(row["metric"] == HEADLINE for row in evidence.rows):
        return {}
    found: dict[str, list[dict[str, object]]] = {}
    of_methods: dict[tuple[Value, ...], set[str]] = {}
    for cell in evidence.expected:
        of_methods.setdefault((cell["dataset"], cell["method"]), set()).add(_stream(cell))
    if all(len(streams) == 1 for streams in of_methods.values()):
        kinds = {"": evidence.expected}
    else:
        kinds = {
            f" {stream}": tuple(cell for cell in evidence.expected if _stream(cell) == stream)
            for stream in dict.fromkeys(map(_stream, evidence.expected))
        }
    for stream, cells in kinds.items():
        keys = {cell["cell"] for cell in cells}
        rows = tuple(row for row in evidence.rows if row["cell"] in keys)
        if any(row["metric"] == HEADLINE for row in rows):
            points = curve(replace(evidence, expected=cells, rows=rows), HEADLINE)
            for point in points[points["n"] > 0].to_dict("records"):
                told: dict[str, object] = {str(name): value for name, value in point.items()}
                found.setdefault(f"{point['dataset']}{stream}", []).append(told)
    return found


def _stream(cell: Mapping[str, Value]) -> str:
    return str(cell.get("stream", "rgb"))


def _spread(point: Mapping[str, object]) -> dict[str, float]:
    mean, sd = _number(point["mean"]), _number(point["sd"])
    return {"lower": mean - sd, "mean": mean, "upper": mean + sd}


def _labels(point: Mapping[str, object]) -> int:
    return round(_number(point["labels_per_class"]))


def _number(value: object) -> float:
    return float(str(value))
