"""Whether the report in the work folder is the one that the results give: drawn again in memory, compared byte by byte.

Two things make a report differ without a number being wrong. The commit that drew it stands in it: the drawing here is given
the commit that the report's own stamp names. And other code, or another version of the library that draws, may lay out the
same numbers otherwise: where the report was drawn by another commit, or where pictures alone differ, a note says so.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from configs.experiment import Draw, Experiment
from harness import carried, files, provenance, publish
from harness.plan import Plan
from harness.workdir import Workdir
from reports.evidence import Evidence

PICTURES = ("png", "pdf", "svg", "gif")
SHOWN = 80
"""Characters of a line that a message quotes."""


@dataclass(kw_only=True, slots=True)
class Compared:
    """A report's files against a fresh drawing."""

    files: int = 0
    agree: int = 0
    drawn_by: str = ""
    notes: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """File inside the work folder, and what is wrong with it."""


def compare_reports(
    name: str, experiment: Experiment, plan: Plan, workdir: Workdir, settings: tuple[str, ...]
) -> Compared:
    """Hold the files of a report against what would be drawn now.

    Args:
        name: of the experiment.
        experiment: the experiment.
        plan: its results, with the scores that should be drawn.
        workdir: where the report is.
        settings: its knobs.
    """
    told = Compared()
    stamp = publish.drawn_from(name, workdir)
    code: Mapping[str, Any] = stamp.get("code", {})
    told.drawn_by = str(code.get("commit", ""))
    lie = publish.written_files(name, experiment, workdir)
    place = f"reports/{name}"
    if not lie and not stamp:
        told.problems.append((place, f"no report was drawn yet: `harness report {name}` draws it"))
        return told
    formats = stamp.get("formats") or sorted({path.suffix[1:] for path in lie.values()})
    drawn = _draw(name, experiment, plan, workdir, settings, formats, told)
    others = _other_runs(plan, stamp)
    stale = []
    for file in sorted({*drawn, *lie}):
        told.files += 1
        content = lie[file].read_bytes() if file in lie else None
        if content is None:
            told.problems.append((f"{place}/{file}", "is missing"))
        elif content == drawn.get(file):
            told.agree += 1
        elif others and stamp.get("sha256", {}).get(file) == files.sha256(content):
            stale.append(file)  # as it was drawn, from results that are not all there now
        elif file not in drawn:
            told.problems.append((f"{place}/{file}", "is nothing that these results draw"))
        else:
            told.problems.append((f"{place}/{file}", _first_difference(file, content, drawn[file])))
    if stale:
        told.problems.append(
            (
                place,
                f"{len(stale)} of {told.files} files were drawn from other results than those that count now ({others}): "
                f"`harness report {name}` draws them again",
            )
        )
    _note_code(name, code, told)
    return told


def _draw(
    name: str,
    experiment: Experiment,
    plan: Plan,
    workdir: Workdir,
    settings: tuple[str, ...],
    formats: Collection[str],
    told: Compared,
) -> dict[str, bytes]:
    """Every file of the report, by name inside its folder, as the commit that drew it would sign it."""
    same = _signed(experiment, told.drawn_by) if told.drawn_by else experiment
    place = f"reports/{name}"
    try:
        drawings = publish.drawings_of(name, same, plan, workdir, settings, formats)
    except Exception as error:  # noqa: BLE001 - a report that cannot be drawn is a finding beside others
        told.problems.append((place, f"could not be drawn again: {type(error).__name__}: {error}"))
        return {}
    drawn: dict[str, bytes] = {}
    for part, drawing in drawings.items():
        before = f"{part}/" if experiment.parts else ""
        drawn |= {f"{before}{file}": content for file, content in drawing.files.items()}
        if drawing.problem:
            told.problems.append((f"{place}/{part}", drawing.problem))
    if experiment.parts and "html" in formats:
        whole = carried.whole(experiment, plan, settings)
        if told.drawn_by:
            facts = {**whole.provenance, "drawn_by_commit": told.drawn_by}
            whole = replace(whole, provenance=facts)
        drawn[f"{name}.html"] = publish.page_of_parts(workdir.report(name), whole, drawings)
    return drawn


def _signed(experiment: Experiment, commit: str) -> Experiment:
    """The same experiment, whose reports say that this commit drew them."""

    def signing(draw: Draw) -> Draw:
        def signed(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
            facts = {**evidence.provenance, "drawn_by_commit": commit}
            return draw(replace(evidence, provenance=facts), formats)

        return signed

    parts = {part: _signed(made, commit) for part, made in experiment.parts.items()}
    draw = signing(experiment.draw) if experiment.draw else None
    return replace(experiment, draw=draw, parts=parts)


def _other_runs(plan: Plan, stamp: Mapping[str, Any]) -> str:
    """In how many cells the results that the report was drawn from are not those that count now; empty if in none."""
    before: Mapping[str, Any] = stamp.get("runs", {})
    now = {
        cell.key: plan.done[cell.key].attempt if cell.key in plan.done else None
        for cell in plan.cells
    }
    lost = sum(run is not None and now.get(key) is None for key, run in before.items())
    other = sum(run is not None and before.get(key) != run for key, run in now.items())
    words = [f"{lost} cells are gone or not believed"] if lost else []
    words += [f"{other} cells came or were done again since"] if other else []
    return ", ".join(words) if before else ""


def _first_difference(file: str, content: bytes, fresh: bytes) -> str:
    """In words where a file first differs from the fresh drawing."""
    if file.endswith(PICTURES):
        return f"is another picture than these results give ({len(content):,} bytes; {len(fresh):,} when drawn again)"
    lines = zip_longest(content.splitlines(), fresh.splitlines(), fillvalue=b"")
    for number, (lies, wanted) in enumerate(lines, start=1):
        if lies != wanted:
            at = next((at for at, (one, other) in enumerate(zip(lies, wanted, strict=False)) if one != other), min(len(lies), len(wanted)))  # fmt: skip
            start = max(0, at - SHOWN // 2) if max(len(lies), len(wanted)) > SHOWN else 0
            said, right = (each[start : start + SHOWN].decode(errors="replace").strip() for each in (lies, wanted))  # fmt: skip
            return f"differs in line {number}: it has “{said}”, and these results give “{right}”"
    return "differs in how its lines end"


def _note_code(name: str, code: Mapping[str, Any], told: Compared) -> None:
    """What may make a report differ without a number being wrong."""
    now = provenance.code()
    if code and dict(code) != now:
        after = " with changes that are not committed" if code.get("dirty") else ""
        here = " with changes that are not committed" if now["dirty"] else ""
        told.notes.append(
            f"the report was drawn by another commit ({str(code.get('commit'))[:12]}{after}; this is {str(now['commit'])[:12]}{here})"
            + ("" if not told.problems else f": what differs may be how it is drawn; `harness report {name}` draws it again")
        )  # fmt: skip
    elif not code:
        told.notes.append(
            "nothing is recorded of what drew the report: it may have been interrupted"
        )
    if told.problems and all(file.endswith(PICTURES) for file, _ in told.problems):
        told.notes.append(
            "pictures alone differ, and the numbers beside them agree: another version of matplotlib or of a font draws "
            "other bytes"
        )
