"""The lines of an experiment's figures as runs beside its parent, so that charts show them together without a click."""

from collections.abc import Iterable, Mapping, Sequence

from harness.entry import Point
from harness.kept_runs import CONTENT, ROLE
from harness.runs_by_client import RunsByClient
from harness.shown import Line

DESCRIPTION = "mlflow.note.content"
COLOUR = "mlflow.runColor"
"""Where the UI keeps the colour that a person gives a run, as its own choice is alike for some."""


def put(
    lines: Iterable[Line],
    before: Sequence[tuple[str, str]],
    runs: RunsByClient,
    *,
    begun_ms: int,
    tags: Mapping[str, str],
    suffix: str,
    whose: str,
) -> dict[str, str]:
    """Write each line as a run, unless it is there; those that are no longer drawn, or drawn otherwise, are removed.

    Args:
        lines: as the figures have them.
        before: id and content of the runs of lines that are there; the content is empty if one is not whole.
        runs: of the experiment.
        begun_ms: when the parent began, in milliseconds since 1970.
        tags: that say which work folder's they are.
        suffix: of their names.
        whose: what their descriptions say of the work folder.

    Returns:
        Ids by content, of all lines.
    """
    wanted = {line.digest(): line for line in lines}
    there: dict[str, str] = {}
    for run_id, content in before:
        if content in wanted and content not in there:
            there[content] = run_id
        else:
            runs.delete(run_id)
    # The table's order is the newest first: the parent, then its lines as the figure has them.
    for place, (content, line) in enumerate(wanted.items(), start=1):
        if content in there:
            continue
        told = {ROLE: "curve", **tags, "method": line.method, COLOUR: line.colour}
        told |= {"part": line.part} if line.part else {}
        told[DESCRIPTION] = f"{line.words}{whose}."
        run_id = runs.create(line.name + suffix, begun_ms - place, told)
        points = [
            Point(name, value, begun_ms, step)
            for name, drawn in line.points.items()
            for step, value in drawn
        ]
        runs.log(run_id, points, {"method": line.method, "dataset": line.dataset})
        runs.close(run_id, begun_ms - place, {CONTENT: content})
        there[content] = run_id
    return there
