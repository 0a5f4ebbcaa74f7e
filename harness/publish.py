"""Draw an experiment's report into the work folder, unless what is there is already drawn from the same runs.

An experiment that consists of parts has a report for each in a folder of its own, and one page with all of them. A part
that cannot be drawn costs the others nothing: what is wrong with it is said on the page and to whoever asked.
"""

import json
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from configs.experiment import FORMATS, Draw, Experiment
from harness import carried, collect, files, provenance
from harness.carried import Whole
from harness.plan import Plan
from harness.uri import database_of, place_of_store, uri
from harness.workdir import Workdir
from reports.evidence import Evidence
from tasks.data import writing


class Drawn(NamedTuple):
    """What drawing gave."""

    files: dict[str, Path]
    """The files written, by name; those of a part as PART/FILE."""
    problems: dict[str, str]
    """Why a part could not be drawn, in a sentence, by its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """One report in memory."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    problem: str = ""
    """Why there is none, in a sentence."""


def draw(
    name: str,
    experiment: Experiment,
    plan: Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
    formats: Collection[str] = FORMATS,
) -> Drawn:
    """Draw and write a report, or all reports of the parts and their page."""
    folder = workdir.report(name)
    drawings = drawings_of(name, experiment, plan, workdir, settings, formats)
    basis = _basis(experiment, plan, settings)
    before = _drawn_before(name, workdir, basis)
    whole = carried.whole(experiment, plan, settings) if experiment.parts else None
    written = write(name, workdir, drawings, whole, formats, spare=before["files"])
    problems = {part: each.problem for part, each in drawings.items() if each.problem}
    if not problems:
        stamp = {
            **basis,
            "files": sorted({*written, *before["files"]}),
            "formats": sorted({*formats, *before["formats"]}),
            "sha256": {
                file: files.sha256_of(folder / file) for file in {*written, *before["files"]}
            },
        }
        files.write_json(_stamp(workdir, name), stamp)
    return Drawn(files=written, problems=problems)


def write(
    name: str,
    workdir: Workdir,
    drawings: Mapping[str, Drawing],
    whole: Whole | None,
    formats: Collection[str],
    spare: Collection[str] = (),
) -> dict[str, Path]:
    """Write reports, and of parts the page with all of them; what lies there besides was drawn from other results and goes.

    Args:
        name: of the experiment.
        workdir: where to.
        drawings: by name, one or that of each part.
        whole: what the page says beside the parts; None where there are none.
        formats: that were drawn.
        spare: files that stay, though they were not drawn now.

    Returns:
        The files by name.

    Raises:
        ValueError: when a name leads out of the folder; nothing was changed.
    """
    folder = workdir.report(name)
    _check_inside(name, *drawings, *(file for each in drawings.values() for file in each.files))
    # From here on the folder is in between: a draw that is killed is not current.
    writing.remove(_stamp(workdir, name))
    written: dict[str, Path] = {}
    for part, drawing in drawings.items():
        place = f"{part}/" if whole else ""
        for file, content in drawing.files.items():
            written[place + file] = folder / place / file
            files.write(folder / place / file, content)
    for file, path in _files_in(folder, name, drawings if whole else ()).items():
        if file not in written and file not in spare:
            writing.remove(path)
    if whole and "html" in formats:
        written[f"{name}.html"] = folder / f"{name}.html"
        files.write(folder / f"{name}.html", page_of_parts(folder, whole, drawings))
    return written


def drawings_of(
    name: str,
    experiment: Experiment,
    plan: Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
    formats: Collection[str],
) -> dict[str, Drawing]:
    """Every report of an experiment in memory, by name.

    Raises:
        Exception: a bug in drawing, where the experiment is of one piece. A part's, and numbers that a report refuses, are
            told in the `Drawing`.
    """
    gathered = collect.evidence_of_parts(name, experiment, plan, workdir, settings)
    draws = {part: experiment.parts.get(part, experiment).draw for part in gathered}
    return drawings_from(gathered, draws, formats, apart=bool(experiment.parts))


def drawings_from(
    gathered: Mapping[str, Evidence],
    draws: Mapping[str, Draw | None],
    formats: Collection[str],
    *,
    apart: bool,
) -> dict[str, Drawing]:
    """Every report in memory, by name.

    Args:
        gathered: evidence by name.
        draws: what draws it, by the same names.
        formats: which forms to make.
        apart: whether a bug in drawing one leaves the others; else it is raised. Numbers that a report refuses are told
            in its `Drawing` either way.
    """
    drawings = {}
    for part, evidence in gathered.items():
        draw = draws[part]
        assert draw is not None  # an experiment has either parts or a report
        try:
            drawn = draw(evidence, formats)
            _check_inside(*drawn)
            drawings[part] = Drawing(files=drawn)
        except Exception as error:
            if not (apart or isinstance(error, ValueError)):
                raise  # a bug of ours
            drawings[part] = Drawing(problem=f"{part} could not be drawn: {_words(error)}")
    return drawings


def _check_inside(*places: str) -> None:
    """See that names of parts and files lead nowhere but into a report's folder.

    Raises:
        ValueError: when one leads out of it.
    """
    for place in places:
        if PurePath(place).is_absolute() or ".." in PurePath(place).parts:
            raise ValueError(
                f"'{place}' would lie outside the report's folder: give names of files"
            )


def _words(error: Exception) -> str:
    """An error in one line; what is no refusal of a value says where it happened."""
    line = (str(error).strip().splitlines() or ["without a word"])[0]
    if isinstance(error, ValueError):
        return line
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {line} ({Path(frame.filename).name}, line {frame.lineno})"


def page_of_parts(folder: Path, whole: Whole, drawings: Mapping[str, Drawing]) -> bytes:
    """The page with all parts."""
    from reports.anthology import Chapter, anthology  # pandas: only when something is drawn

    chapters = []
    for part, drawing in drawings.items():
        title, done, cells = whole.chapters[part]
        beside = sorted(path.name for path in (folder / part).glob(f"{part}*"))
        chapters.append(
            Chapter(
                name=part,
                title=title,
                done=done,
                cells=cells,
                page=drawing.files.get(f"{part}.html"),
                picture=drawing.files.get(f"{part}.png"),
                files=() if drawing.problem else tuple(f"{part}/{file}" for file in beside),
                problem=drawing.problem,
            )
        )
    return anthology(
        title=whole.title,
        done=whole.done,
        cells=whole.cells,
        shared=whole.shared,
        told=whole.told,
        chapters=chapters,
        provenance=whole.provenance,
    )


def is_current(
    name: str, experiment: Experiment, plan: Plan, workdir: Workdir, settings: tuple[str, ...]
) -> bool:
    """Whether the report in the work folder was drawn, whole, from exactly these runs by this code."""
    try:
        before = _drawn_before(name, workdir, _basis(experiment, plan, settings))
        whole = set(before["formats"]) == set(FORMATS)
        return whole and all((workdir.report(name) / file).is_file() for file in before["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_gathered(name: str, workdir: Workdir) -> bool:
    """Whether what is drawn is in MLflow, as far as this folder knows."""
    database = database_of(uri(workdir))
    try:
        mark = json.loads(_mark(workdir, name).read_bytes())
        is_there = database is None or database.exists()
        return bool(mark == _gathered(workdir, name)) and is_there
    except (OSError, ValueError):
        return False


def mark_ungathered(name: str, workdir: Workdir) -> None:
    """Note that MLflow is being written: if that is killed, what is there is not taken for all."""
    writing.remove(_mark(workdir, name))


def mark_gathered(name: str, workdir: Workdir) -> None:
    """Note that what is drawn is in MLflow now."""
    if _stamp(workdir, name).exists():
        files.write_json(_mark(workdir, name), _gathered(workdir, name))


def _mark(workdir: Workdir, name: str) -> Path:
    return workdir.report(name) / ".gathered_to.json"


def _gathered(workdir: Workdir, name: str) -> dict[str, str]:
    return {"drawn": files.sha256_of(_stamp(workdir, name)), "store": place_of_store(workdir)}


def written_files(name: str, experiment: Experiment, workdir: Workdir) -> dict[str, Path]:
    """The files of a report in the work folder; those of a part as PART/FILE."""
    return _files_in(workdir.report(name), name, experiment.parts)


def _files_in(folder: Path, name: str, parts: Collection[str]) -> dict[str, Path]:
    found = {path.name: path for path in sorted(folder.glob(f"{name}*")) if path.is_file()}
    for part in parts:
        found |= {f"{part}/{path.name}": path for path in sorted((folder / part).glob(f"{part}*"))}
    return found


def _stamp(workdir: Workdir, name: str) -> Path:
    return workdir.report(name) / ".drawn_from.json"


def drawn_from(name: str, workdir: Workdir) -> dict[str, Any]:
    """What the report in the work folder was drawn from, by which code, and to what; empty where nothing is known of it."""
    try:
        stamp = json.loads(_stamp(workdir, name).read_bytes())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _drawn_before(name: str, workdir: Workdir, basis: Mapping[str, Any]) -> dict[str, list[str]]:
    """Files and formats that were drawn from the same results by the same code; none where others were."""
    told = ("files", "formats")
    stamp = drawn_from(name, workdir)
    try:
        if {key: stamp[key] for key in stamp if key not in (*told, "sha256")} == basis:
            return {key: [str(each) for each in stamp[key]] for key in told}
    except (KeyError, TypeError):
        pass  # nothing is known of what lies there
    return {key: [] for key in told}


def _basis(experiment: Experiment, plan: Plan, settings: tuple[str, ...]) -> dict[str, Any]:
    """What a report is drawn from, and by what."""
    basis: dict[str, Any] = {
        "runs": {
            cell.key: plan.done[cell.key].attempt if cell.key in plan.done else None
            for cell in plan.cells
        },
        "labels": {cell.key: cell.label for cell in plan.cells},
        "settings": list(settings),
        "words": [experiment.title, *experiment.notes],
        "code": provenance.code(),
    }
    if experiment.parts:
        basis["parts"] = {
            name: {
                "labels": {cell.key: cell.label for cell in plan.parts[name]},
                "words": [part.title, *part.notes],
            }
            for name, part in experiment.parts.items()
        }
    return basis
