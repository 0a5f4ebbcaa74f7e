"""Everything a cell's numbers lead back to: the question, who draws it, the run, the code, the machine, the data, the files.

As plain JSON; `harness.look_back` prints it for people. Nothing is changed on disk.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness import files, plan, recall, result, sent, status, submission
from harness.logs import find_cell_folder
from harness.recall import Recalled
from harness.source import UsageError
from harness.workdir import Workdir
from tasks.cell import SHORT, Cell

_DIGEST = re.compile(r"[0-9a-f]{40,64}")
MANIFEST = "subset.json"


def lineage(workdir: Workdir, digits: str) -> dict[str, Any]:
    """What is known of the one cell whose key begins with these digits.

    A cell that was never run is known by the experiments that were run here and ask for it.

    Raises:
        UsageError: when there is no such cell, or more than one.
    """
    recalled = recall.recall_all(workdir)
    known = {cell.key: cell for each in recalled if each.experiment for cell in each.experiment.all_cells()}  # fmt: skip
    cell, key = _find(workdir, digits, known)
    accepted, damage = _accepted(workdir, cell, key)
    body: Mapping[str, Any] = accepted.body if accepted else {}
    described = _described(workdir, cell, key, body)
    state, detail = _state(workdir, cell, key, accepted, damage)
    task: Mapping[str, Any] = described.get("task", {})
    return {
        "cell": key,
        "state": state,
        "detail": detail,
        "task": body.get("task") or task.get("class", ""),
        "seed": described.get("seed"),
        "values": _values(cell) or dict(body.get("values", {})),
        "question": described,
        "data": list(identities(task)),
        "subset": _subset(accepted),
        "drawn_by": list(_drawn_by(recalled, key)),
        "needed_by": sorted(
            each.key for each in known.values() if key in {n.key for n in each.needs}
        ),
        "scores": list(body.get("scores", ())),
        "run": _run(accepted),
        "needs": [_need(workdir, need, known, body) for need in described.get("needs", ())],
        "files": _files(accepted),
        "attempts": [_attempt(path, accepted) for path in _tried(workdir, key)],
        "not_recalled": {each.name: each.problem for each in recalled if each.problem},
    }


def identities(task: Any, place: str = "") -> Iterator[dict[str, Any]]:
    """Every part of a description that names data: a dataset, or whatever states a digest of what it is made of.

    Args:
        task: what `tasks.cell.canonical` made of a task.
        place: where in it this is.
    """
    if isinstance(task, list):
        for number, each in enumerate(task):
            yield from identities(each, f"{place}[{number}]")
    if not isinstance(task, dict):
        return
    digests = {
        name: value
        for name, value in task.items()
        if isinstance(value, str) and _DIGEST.fullmatch(value)
    }
    if digests or place.rpartition(".")[2] in ("dataset", "glyphs", "recipe"):
        plain = {name: v for name, v in task.items() if not isinstance(v, dict | list) and name not in digests}  # fmt: skip
        yield {"place": place or "task", "digests": digests, "values": plain}
    for name, value in task.items():
        yield from identities(value, f"{place}.{name}" if place else name)


def _find(workdir: Workdir, digits: str, known: Mapping[str, Cell]) -> tuple[Cell | None, str]:
    """The cell, if an experiment asks for it, and its key."""
    asked = {key: cell for key, cell in known.items() if key.startswith(digits)}
    if len(asked) == 1 and len(digits) >= SHORT:
        ((key, cell),) = asked.items()
        return cell, key
    try:
        folders = {find_cell_folder(workdir, digits).name}
    except UsageError as error:
        # Of cells that were neither run nor sent, only experiments know.
        if not asked or "digits" in str(error):
            raise
        folders = set()
    folders |= {key[:SHORT] for key in asked}
    if len(folders) > 1:
        few = ", ".join(sorted(folders)[:3])
        raise UsageError(f"{len(folders)} cells begin with {digits} ({few}, ...): give more digits")
    (short,) = folders
    if asked:
        ((key, cell),) = asked.items()
        return cell, key
    return None, _key_of(workdir, short)


def _key_of(workdir: Workdir, short: str) -> str:
    """The whole key of a cell that no experiment asks for: as its attempts, its result or its submission tell it."""
    for path, name in (
        *((each, "key") for each in sorted((workdir.runs / short).glob("attempt-*/cell.json"))),
        (workdir.runs / short / result.NAME, "cell"),
    ):
        try:
            return str(json.loads(path.read_bytes())[name])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    for each in submission.read_all(workdir):
        for key in each.cells:
            if key.startswith(short):
                return key
    return short


def _accepted(workdir: Workdir, cell: Cell | None, key: str) -> tuple[result.Result | None, str]:
    """The accepted result, every file of it checked; or why it does not count."""
    try:
        found = result.read_key(workdir, key, verify=True)
    except result.DamagedResult as error:
        return None, str(error)
    if found is None or cell is None:
        return found, ""
    return found, plan.of_cells(closure(cell), workdir).damaged.get(key, "")


def closure(cell: Cell) -> tuple[Cell, ...]:
    """A cell and all that it rests on, each after the cells it needs."""
    ordered: dict[str, Cell] = {}

    def visit(each: Cell) -> None:
        if each.key not in ordered:
            for need in each.needs:
                visit(need)
            ordered[each.key] = each

    visit(cell)
    return tuple(ordered.values())


def _described(
    workdir: Workdir, cell: Cell | None, key: str, body: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The question: from the experiment that asks it, from the result, or from what an attempt wrote down."""
    if cell is not None:
        return cell.description()
    if body:
        return dict(body["description"])
    for path in reversed(_tried(workdir, key)):
        try:
            told = json.loads((path / "cell.json").read_bytes())
            return {name: told[name] for name in ("task", "seed", "needs")}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {}


def _state(
    workdir: Workdir, cell: Cell | None, key: str, accepted: result.Result | None, damage: str
) -> tuple[str, str]:
    """done, damaged, running, waiting, failed or missing; and why."""
    if damage:
        return "damaged", f"{damage}; `harness run` does it again"
    if accepted is not None:
        return "done", status.remark(accepted)
    if cell is not None:
        found = {each.key: each for each in status.look(plan.of_cells(closure(cell), workdir), workdir)}[key]  # fmt: skip
        never = "it has no run here; `harness run` of an experiment that draws it makes one"
        tried = result.attempts(workdir, cell)
        return found.state, found.detail or ("" if found.state != "missing" or tried else never)
    running, waiting = status.in_hand(workdir) if workdir.is_driven() else (set(), set())
    if key in running or key in waiting:
        return ("running" if key in running else "waiting"), ""
    place = sent.look(workdir).get(key)
    if place is not None and sent.holds(workdir, key, place):
        return ("waiting" if place.waiting else "running"), str(place)
    tried = _tried(workdir, key)
    error = _failure(tried[-1])["error"] if tried else ""
    asked = "no experiment as it was last run here asks for it"
    return ("failed", str(error)) if error else ("missing", asked)


def _tried(workdir: Workdir, key: str) -> list[Path]:
    return sorted(workdir.accepted(key).parent.glob("attempt-*"))


def _failure(attempt: Path) -> dict[str, Any]:
    try:
        told = json.loads((attempt / result.FAILURE).read_bytes())
        return {"error": str(told["error"]), "ended": told.get("ended", ""), "trace": told.get("trace", "")}  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return {"error": "", "ended": "", "trace": ""}


def _attempt(path: Path, accepted: result.Result | None) -> dict[str, Any]:
    """One attempt: accepted, finished (another one was accepted), failed or unfinished."""
    failure = _failure(path)
    if accepted is not None and accepted.attempt == path.name:
        state = "accepted"
    elif (path / result.NAME).exists():
        state = "finished, not counted: another attempt was accepted"
    else:
        state = "failed" if failure["error"] else "not finished"
    return {"attempt": path.name, "folder": str(path), "state": state, "job": result.made_by(path), **failure}  # fmt: skip


def _drawn_by(recalled: list[Recalled], key: str) -> Iterator[dict[str, Any]]:
    for each in recalled:
        if each.experiment is None:
            continue
        for part, made in (each.experiment.parts or {"": each.experiment}).items():
            for cell in made.cells:
                if cell.key == key and cell.label:
                    name = f"{each.name}.{part}" if part else each.name
                    yield {"experiment": name, "method": cell.label, "settings": list(each.settings)}  # fmt: skip
                    break


def _run(accepted: result.Result | None) -> dict[str, Any] | None:
    if accepted is None:
        return None
    body = accepted.body
    told = {name: body[name] for name in ("attempt", "started", "ended", "usage")}
    return {**told, "folder": str(accepted.folder), **body["provenance"]}


def _need(
    workdir: Workdir, key: str, known: Mapping[str, Cell], body: Mapping[str, Any]
) -> dict[str, Any]:
    """A needed cell: what it is, the files of it that the run rests on, and whether they are still those."""
    cell = known.get(key)
    try:
        found = result.read_key(workdir, key)
        state = "done" if found else "missing"
    except result.DamagedResult:
        found, state = None, "damaged"
    weights = body.get("rests_on", {}).get(key, {})
    same = None if not weights or found is None else found.weights() == weights
    values = _values(cell) or (dict(found.body["values"]) if found else {})
    task = type(cell.task).__name__ if cell else str(found.body["task"]) if found else ""
    return {"cell": key, "task": task, "state": state, "values": values, "weights": weights, "unchanged": same}  # fmt: skip


def _values(cell: Cell | None) -> dict[str, Any]:
    """A task's values; none where it is not known, or cannot know them any more, as what it rests on is gone."""
    try:
        return dict(cell.task.values()) if cell else {}
    except ValueError:
        return {}


def _files(accepted: result.Result | None) -> list[dict[str, Any]]:
    if accepted is None:
        return []
    return [
        {"name": name, "path": str(accepted.folder / name), **listed}
        for name, listed in sorted(accepted.body["files"].items())
    ]


def _subset(accepted: result.Result | None) -> dict[str, Any] | None:
    """Which labelled videos the run was shown, as its manifest says: how many, and the sha256 of their ids."""
    if accepted is None or MANIFEST not in accepted.body["files"]:
        return None
    content = (accepted.folder / MANIFEST).read_bytes()
    manifest = json.loads(content)
    return {
        "videos": len(manifest["videos"]),
        "ids_sha256": manifest["sha256"],
        "manifest_sha256": files.sha256(content),
    }
