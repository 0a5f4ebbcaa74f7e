"""What people read of a cell's lineage and of a verification; data is printed as JSON elsewhere."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.cell import SHORT

if TYPE_CHECKING:
    from rich.console import Console

    from harness.verify import Verified

SHOWN = 12
"""Findings of one kind that are named; --json has all."""
DIGITS = 16
"""Of a sha256 that people are shown."""


def console() -> "Console":
    """Where people read; as wide as the terminal, and wide enough for a file."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def show_lineage(told: Mapping[str, Any]) -> None:
    """Print everything that a cell's numbers lead back to."""
    screen = console()
    state = f"{told['state']}: {told['detail']}" if told["detail"] else told["state"]
    screen.print(f"[bold]cell {told['cell'][:SHORT]}[/] ({told['task']})  {told['cell']}", soft_wrap=True)  # fmt: skip
    screen.print(state, markup=False, soft_wrap=True)
    _section(
        screen,
        "drawn by",
        [
            (each["experiment"], f"as “{each['method']}”" + (f"  ({' '.join(each['settings'])})" if each["settings"] else ""))
            for each in told["drawn_by"]
        ]
        or [("", "no experiment as it was last run here draws it")],
    )  # fmt: skip
    _section(screen, "values", [*told["values"].items(), ("seed", told["seed"])])
    if told["question"]:
        _section(screen, "question", _leaves(told["question"].get("task", {})))
    _section(screen, "data", _data(told))
    _section(
        screen,
        "scores",
        [
            (each["metric"], f"{each['value']:.6g} {each['unit']}  over {each['count']:,}, {'higher' if each['higher_is_better'] else 'lower'} is better")
            for each in told["scores"]
        ],
    )  # fmt: skip
    if told["run"]:
        _section(screen, "run", _run(told["run"]))
        packages = ", ".join(f"{name} {version}" for name, version in told["run"]["packages"].items())  # fmt: skip
        _section(screen, "packages", [("", packages)])
    _section(screen, "needs", [row for need in told["needs"] for row in _need(need)])
    if told["needed_by"]:
        few = ", ".join(key[:SHORT] for key in told["needed_by"][:3])
        more = f" and {len(told['needed_by']) - 3} more" if len(told["needed_by"]) > 3 else ""
        _section(screen, "needed by", [("", few + more)])
    _section(
        screen,
        "files",
        [(each["name"], f"{each['bytes']:>12,} bytes  sha256 {each['sha256']}") for each in told["files"]],
    )  # fmt: skip
    _section(screen, "attempts", [(each["attempt"], _attempt(each)) for each in told["attempts"]])
    for name, problem in told["not_recalled"].items():
        screen.print(f"\n{name} cannot be made any more: {problem}", markup=False, soft_wrap=True)


def show_verified(name: str, told: "Verified") -> None:
    """Print whether an experiment's numbers hold, and by name what does not."""
    screen = console()
    words = {
        "missing": "missing",
        "damaged": "not what was sealed",
        "score": "scores that the predictions do not give",
        "question": "not what was asked",
        "report": "report",
    }
    for kind, heading in words.items():
        found = [each for each in told.findings if each.kind == kind]
        if found:
            screen.print(f"[bold]{heading}[/] ({len(found)})")
        for each in found[:SHOWN]:
            where = f"{each.file}: " if each.file and each.file not in each.what else ""
            screen.print(f"  {where}{each.what}", markup=False, soft_wrap=True)
        if len(found) > SHOWN:
            screen.print(f"  and {len(found) - SHOWN} more: --json names all")
    for note in told.notes:
        screen.print(f"note: {note}", markup=False, soft_wrap=True)
    screen.print(
        f"{name}: {told.agree} of {told.cells} cells agree in every file and score ({told.scores} scores computed again, "
        f"{told.twice} of them by two programs); {told.reports_agree} of {told.reports} report files are what they give",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    screen.print(
        "all agrees, nothing is missing" if told.whole else f"{len(told.findings)} things do not agree or are missing"
    )  # fmt: skip


def _section(screen: "Console", heading: str, rows: Sequence[tuple[str, Any]]) -> None:
    """A heading, then a line each; nothing where there are none."""
    if not rows:
        return
    screen.print(f"\n[bold]{heading}[/]")
    width = max(len(str(name)) for name, _ in rows)
    for name, value in rows:
        screen.print(f"  {name:<{width}}  {_plain(value)}".rstrip(), markup=False, soft_wrap=True)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _leaves(value: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Every value of a description, by its path in it; a digest by its first digits, since `data` has it whole."""
    rows: list[tuple[str, Any]] = []
    for name, each in value.items():
        path = f"{before}.{name}" if before else name
        if isinstance(each, dict):
            rows += _leaves(each, path)
        else:
            text = _plain(each)
            rows.append((path, f"{text[:DIGITS]}..." if len(text) > 100 else text))
    return rows


def _data(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The data by their place in the question, each with what identifies it."""
    rows = []
    for each in told["data"]:
        values = ", ".join(f"{name} {_plain(value)}" for name, value in each["values"].items())
        rows.append((each["place"], values))
        rows += [(f"{each['place']}.{name}", f"sha256 {digest}") for name, digest in each["digests"].items()]  # fmt: skip
    if told["subset"]:
        one = told["subset"]
        rows.append(("videos that it was shown", f"{one['videos']:,}, sha256 of their ids {one['ids_sha256']}"))  # fmt: skip
        rows.append(("subset.json", f"sha256 {one['manifest_sha256']}"))
    return rows


def _run(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    code, machine, job = run["code"], run["machine"], run["job"]
    altered = {True: f", altered since (diff sha256 {code['diff_sha256']})", False: ", not altered"}
    usage = ", ".join(f"{name} {value:g}" for name, value in run["usage"].items())
    return [
        ("attempt", run["attempt"]),
        ("folder", run["folder"]),
        ("started", f"{run['started']}, ended {run['ended']}"),
        ("usage", usage),
        ("commit", f"{code['commit']}{altered.get(code['dirty'], '')}"),
        ("experiment", " ".join([run["experiment"], *run["settings"]])),
        ("host", f"{machine['host']}, {machine['platform']}"),
        ("processor", f"{machine['processor']}, {machine['cores']} cores"),
        ("device", run["device"]),
        ("SLURM", f"job {job['id']} on {job['node']}, restarted {job['restarts']} times" if job else "none"),
    ]  # fmt: skip


def _need(need: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    changed = {True: "as then", False: "NOT the same any more", None: ""}[need["unchanged"]]
    told = ", ".join(each for each in (need["task"], need["state"], changed) if each)
    yield need["cell"][:SHORT], told
    for name, digest in need["weights"].items():
        yield f"  {name}", f"sha256 {digest}"


def _attempt(each: Mapping[str, Any]) -> str:
    job = f" (job {each['job']})" if each["job"] else ""
    why = f": {each['error']}" if each["error"] else ""
    return f"{each['state']}{why}{job}"
