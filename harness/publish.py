"""Draw an experiment's report into the work folder, unless what is there is already drawn from the same runs."""

import json
from collections.abc import Collection
from pathlib import Path

from configs.experiment import Experiment
from harness import collect, files, provenance
from harness.plan import Plan
from harness.uri import place_of_store, uri
from harness.workdir import Workdir

FORMATS = ("png", "pdf", "svg", "gif", "md", "tex", "csv", "html", "json")


def draw(
    name: str,
    experiment: Experiment,
    plan: Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
    formats: Collection[str] = FORMATS,
) -> dict[str, Path]:
    """Draw and write a report.

    Returns:
        The files written, by name.
    """
    gathered = collect.evidence(name, experiment, plan, workdir, settings)
    # From here on the folder is in between: a draw that is killed, or one of some formats only, is not current.
    _stamp(workdir, name).unlink(missing_ok=True)
    written = {}
    for file, content in experiment.draw(gathered, formats).items():
        written[file] = workdir.report(name) / file
        files.write(written[file], content)
    if set(formats) == set(FORMATS):
        files.write_json(_stamp(workdir, name), _basis(experiment, plan, settings, sorted(written)))
    return written


def is_current(
    name: str, experiment: Experiment, plan: Plan, workdir: Workdir, settings: tuple[str, ...]
) -> bool:
    """Whether the report in the work folder was drawn, whole, from exactly these runs by this code."""
    try:
        stamp = json.loads(_stamp(workdir, name).read_bytes())
        current = bool(stamp == _basis(experiment, plan, settings, stamp["files"]))
        return current and all((workdir.report(name) / file).is_file() for file in stamp["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_gathered(name: str, workdir: Workdir) -> bool:
    """Whether what is drawn is in MLflow, as far as this folder knows."""
    local = uri(workdir).startswith("sqlite:")
    try:
        mark = json.loads(_mark(workdir, name).read_bytes())
        return bool(mark == _gathered(workdir, name)) and (not local or workdir.database.exists())
    except (OSError, ValueError):
        return False


def mark_gathered(name: str, workdir: Workdir) -> None:
    """Note that what is drawn is in MLflow now."""
    if _stamp(workdir, name).exists():
        files.write_json(_mark(workdir, name), _gathered(workdir, name))


def _mark(workdir: Workdir, name: str) -> Path:
    return workdir.report(name) / ".gathered_to.json"


def _gathered(workdir: Workdir, name: str) -> dict[str, str]:
    return {"drawn": files.sha256_of(_stamp(workdir, name)), "store": place_of_store(workdir)}


def written_files(name: str, workdir: Workdir) -> dict[str, Path]:
    """The files of a report in the work folder."""
    return {path.name: path for path in sorted(workdir.report(name).glob(f"{name}*"))}


def _stamp(workdir: Workdir, name: str) -> Path:
    return workdir.report(name) / ".drawn_from.json"


def _basis(
    experiment: Experiment, plan: Plan, settings: tuple[str, ...], names: list[str]
) -> dict[str, object]:
    return {
        "runs": {
            cell.key: plan.done[cell.key].attempt if cell.key in plan.done else None
            for cell in plan.cells
        },
        "labels": {cell.key: cell.label for cell in plan.cells},
        "settings": list(settings),
        "words": [experiment.title, *experiment.notes],
        "code": provenance.code(),
        "files": names,
    }
