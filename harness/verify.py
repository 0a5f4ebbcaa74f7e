"""Whether the numbers of an experiment still hold: every file read again, every score and every report made again.

Four questions, each answered by name: is every accepted result and every file of it what it was when it was sealed; do the
stored predictions give the scores that the result states; is the question's own file (which videos were shown) what the
question draws today; are the report's files those that these scores give. Nothing is changed on disk.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from configs.experiment import Experiment
from harness import plan, result
from harness.plan import Plan
from harness.verify_reports import compare_reports
from harness.workdir import Workdir
from tasks.cell import Cell
from tasks.subset import Classifies
from tasks.task import Needed, Predictions, Score

TOLERANCE = 1e-9
"""Relative difference between a score as stated and as computed again that is no disagreement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that does not agree or is not there."""

    kind: str
    """missing, damaged, score, question, or report."""
    what: str
    """In a sentence."""
    cells: tuple[str, ...] = ()
    """Keys; none where it is about a report."""
    file: str = ""
    """Path inside the work folder, where it is about one file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What was looked at, and what was found."""

    cells: int
    agree: int
    """Cells whose files, scores and question all agree."""
    scores: int
    """Scores computed again."""
    twice: int
    """Of them those that two programs written apart computed."""
    reports: int
    """Report files compared."""
    reports_agree: int
    drawn_by: str
    """The commit that drew the report, where the report says so."""
    notes: tuple[str, ...]
    findings: tuple[Finding, ...] = field(default_factory=tuple)

    @property
    def whole(self) -> bool:
        """Whether everything agrees and nothing is missing."""
        return not self.findings


def verify(
    name: str,
    experiment: Experiment,
    workdir: Workdir,
    settings: tuple[str, ...],
    on_cell: Callable[[], None] = lambda: None,
) -> Verified:
    """Hold everything an experiment left against itself.

    Args:
        name: of the experiment.
        experiment: the experiment.
        workdir: where its results are.
        settings: its knobs, as words.
        on_cell: called twice a cell: when its files are read, and when its scores are computed.
    """
    cells = experiment.all_cells()
    read = plan.of_cells(cells, workdir, verify=True, on_cell=on_cell)
    parts = {part: made.all_cells() for part, made in experiment.parts.items()}
    read = replace(read, parts=parts)
    findings = [*_damaged(read, workdir), *_missing(read, workdir)]
    done = dict(read.done)
    agree = scores = twice = 0
    for cell in cells:
        on_cell()
        if cell.key not in done:
            continue
        checked = check(cell, done[cell.key])
        agree += not checked.problems
        scores, twice = scores + checked.scores, twice + checked.twice
        where = _inside(done[cell.key].folder, workdir)
        findings += [
            Finding(
                kind=kind,
                cells=(cell.key,),
                file=f"{where}/{file}",
                what=f"{_called(cell)}: {what}",
            )
            for kind, file, what in checked.problems
        ]
        body = {**done[cell.key].body, "scores": checked.corrected}
        done[cell.key] = replace(done[cell.key], body=body)
    told = compare_reports(name, experiment, replace(read, done=done), workdir, settings)
    findings += [Finding(kind="report", file=file, what=what) for file, what in told.problems]
    return Verified(
        cells=len(cells),
        agree=agree,
        scores=scores,
        twice=twice,
        reports=told.files,
        reports_agree=told.agree,
        drawn_by=told.drawn_by,
        notes=tuple(told.notes),
        findings=tuple(findings),
    )


@dataclass(kw_only=True, slots=True)
class Checked:
    """What checking one result gave."""

    scores: int = 0
    twice: int = 0
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    """Kind, file of the attempt, and what is wrong."""
    corrected: list[dict[str, Any]] = field(default_factory=list)
    """The scores as they should be stated; as stated where they agree."""


def check(cell: Cell, found: result.Result) -> Checked:
    """Compute a result's scores again from its predictions, and hold its question's files against the question."""
    told = Checked(corrected=found.scores)
    try:
        asked = cell.task.files()
    except ValueError as error:
        asked = {}
        told.problems.append(("question", result.NAME, str(error)))
    for file, content in asked.items():
        try:
            same = (found.folder / file).read_bytes() == content
        except OSError:
            same = False
        if not same:
            told.problems.append(("question", file, f"{file} is not what this question draws today"))  # fmt: skip
    try:
        predictions = Needed(cell=cell, folder=found.folder).predictions()
        computed = list(cell.task.score(predictions))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the predictions of one cell, the others are checked
        line = (str(error).strip().splitlines() or ["without a word"])[0]
        told.problems.append(("score", "predictions.parquet", f"its predictions give no score: {line}"))  # fmt: skip
        return told
    told.scores = len(computed)
    stated = {str(score["metric"]): score for score in found.scores}
    told.corrected = [_as_stated(score, stated.get(score.metric.name)) for score in computed]
    for score, right in zip(computed, told.corrected, strict=True):
        was = stated.pop(score.metric.name, None)
        if was is None:
            told.problems.append(("score", result.NAME, f"it states no {score.metric.name}, and its predictions give {score.value:.6g}"))  # fmt: skip
        elif was != right:
            told.problems.append(("score", result.NAME, _difference(was, score)))
    told.problems += [("score", result.NAME, f"it states {metric}, which its predictions do not give") for metric in stated]  # fmt: skip
    if isinstance(cell.task, Classifies):
        _check_apart(cell, cell.task, predictions, computed, told)
    return told


def _check_apart(
    cell: Cell, task: Classifies, predictions: Predictions, computed: Iterable[Score], told: Checked
) -> None:
    """The same by `reports.predicted`, which is written apart from what scored the run; and the labels, by the test list."""
    import numpy as np
    import pandas as pd

    from reports.predicted import predicted_in

    try:
        answers = predicted_in(pd.DataFrame(predictions), whose=f"cell {cell.short}")
    except ValueError as error:
        told.problems.append(("score", "predictions.parquet", str(error)))
        return
    labels = {video.id: video.label for video in task.subset.test_videos}
    wrong = [
        video for video, label in zip(answers.videos, answers.labels.tolist(), strict=True)
        if labels.get(video) != label
    ]  # fmt: skip
    if wrong:
        told.problems.append(("score", "predictions.parquet", f"{len(wrong)} videos have another label than the test list gives them, such as {wrong[0]}"))  # fmt: skip
    true = answers.probabilities[np.arange(len(answers.labels)), answers.labels]
    apart = {
        "video_accuracy": 100.0 * float(answers.right.mean()),
        "video_nll": float(-np.log(np.maximum(true, 1e-12)).mean()),
    }
    for score in computed:
        if score.metric.name in apart:
            told.twice += 1
            other = apart[score.metric.name]
            if not _close(score.value, other):
                told.problems.append(("score", "predictions.parquet", f"{score.metric.name} is {score.value!r} by the task and {other!r} by the reports"))  # fmt: skip


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _as_stated(score: Score, stated: Mapping[str, Any] | None) -> dict[str, Any]:
    """A score as a result states it; its value to the last bit as stated, where that is within the tolerance."""
    value = score.value
    if stated is not None and isinstance(stated.get("value"), int | float) and _close(stated["value"], value):  # fmt: skip
        value = stated["value"]
    return {
        "metric": score.metric.name,
        "unit": score.metric.unit,
        "higher_is_better": score.metric.higher_is_better,
        "value": value,
        "count": score.count,
    }


def _difference(stated: Mapping[str, Any], score: Score) -> str:
    name, unit = score.metric.name, score.metric.unit
    return (
        f"it states {name} {stated.get('value')!r} {stated.get('unit')} over {stated.get('count')}, and its predictions give "
        f"{score.value!r} {unit} over {score.count}"
    )


def _damaged(read: Plan, workdir: Workdir) -> Iterable[Finding]:
    for cell in read.cells:
        if cell.key in read.damaged:
            what = read.damaged[cell.key].replace(f"{workdir.root}/", "")
            found = re.match(rf"(runs/{cell.short}/\S+?),? (is|has|was|cannot|which) ", what)
            file = found[1] if found else ""
            yield Finding(
                kind="damaged", cells=(cell.key,), file=file, what=f"{_called(cell)}: {what}"
            )


def _missing(read: Plan, workdir: Workdir) -> Iterable[Finding]:
    """Cells without any result; resamples of one point together: 9 of 10, and which is not there."""
    from reports.fewshot_tables import ranges

    points: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in read.cells:
        point = _point(cell)
        points.setdefault((cell.label, *point) if point else (cell.key,), []).append(cell)
    for cells in points.values():
        lost: dict[str, list[Cell]] = {}
        for cell in cells:
            if cell.key not in read.done and cell.key not in read.damaged:
                reason = result.failure(workdir, cell)
                why = f" (its last run failed: {reason})" if reason else ""
                lost.setdefault(why, []).append(cell)
        there = sum(cell.key in read.done for cell in cells)
        for why, some in lost.items():
            keys = tuple(cell.key for cell in some)
            if not _point(some[0]):
                what = f"{_called(some[0])}: it has no result{why}"
            else:
                which = [int(str(values_of(cell)["resample"])) for cell in some]
                what = (
                    f"{there} of {len(cells)}: resample{'s' if len(some) > 1 else ''} {ranges(which)} of {_place(some[0])} "
                    f"{'have' if len(some) > 1 else 'has'} no result{why}"
                )
            yield Finding(kind="missing", cells=keys, what=what)


def values_of(cell: Cell) -> Mapping[str, Any]:
    """A task's values; none where it cannot know them any more, as what it rests on is gone."""
    try:
        return cell.task.values()
    except ValueError:
        return {}


def _point(cell: Cell) -> tuple[Any, ...]:
    """What a cell shares with the other resamples of it; empty for a cell that is no resample."""
    values = values_of(cell)
    if not cell.label or "resample" not in values:
        return ()
    return tuple(values.get(name) for name in ("dataset", "stream", "shots", "split"))


def _place(cell: Cell) -> str:
    values = values_of(cell)
    shots = "all videos" if values["shots"] == "all" else f"{values['shots']} videos per class"
    return f"“{cell.label}” on {values['dataset']} ({values.get('stream', '')}), {shots}, split {values['split']}"


def _called(cell: Cell) -> str:
    """A cell in a person's words, begun with its key."""
    if not _point(cell):
        return f"cell {cell.short} ({cell.label or type(cell.task).__name__})"
    return f"cell {cell.short} ({_place(cell)}, resample {values_of(cell)['resample']})"


def _inside(path: Path, workdir: Workdir) -> str:
    return str(path.relative_to(workdir.root)) if path.is_relative_to(workdir.root) else str(path)
