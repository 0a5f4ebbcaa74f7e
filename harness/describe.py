"""An experiment, a plan and a status as people read them, and the same as plain JSON."""

import inspect
import json
import sys
from collections.abc import Mapping
from typing import Any

import click

from configs.clusters import CPU_GFLOPS
from configs.experiment import Experiment
from configs.knobs import knobs
from harness.plan import Plan
from harness.source import Source
from harness.status import STATES, CellStatus
from reports.published import PUBLISHED

SHOWN = 8
"""Cells of one state that a status names."""


def describe_experiment(source: Source, experiment: Experiment | None) -> dict[str, Any]:
    """Everything `harness describe` says; without cells where knobs are lacking that have no default."""
    made = Plan(
        cells=experiment.all_cells() if experiment else (),
        done={},
        damaged={},
        parts={name: part.all_cells() for name, part in experiment.parts.items()} if experiment else {},
    )  # fmt: skip
    gflop = sum(each[3] for each in made.by_task())
    return {
        "name": source.name,
        "title": experiment.title if experiment else (inspect.getdoc(source.function) or "").partition("\n")[0],
        "about": inspect.cleandoc(inspect.getmodule(source.function).__doc__ or ""),
        "knobs": {
            knob.name: {"type": knob.type_name, "default": _plain(knob.default), "meaning": knob.meaning}
            for knob in knobs(source.function).values()
        },
        "parts": {
            name: {"title": experiment.parts[name].title, "cells": counts["cells"], "shared": counts["shared"]}
            for name, counts in part_counts(made).items()
        } if experiment else {},
        "lacking": [] if experiment else source.lacking(()),
        "cells": {name: {"count": count, "gflop": round(cost, 1)} for name, count, _, cost in made.by_task()},
        "expected_core_hours": round(gflop / CPU_GFLOPS / 3600, 3),
        "published": [
            {"dataset": each.dataset, "stream": each.modality, "method": each.method, "shots": each.shots, "value": each.value, "unit": each.unit, "source": each.source}
            for each in PUBLISHED
            if each.artefact == source.name or each.artefact in made.parts
        ],
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return None
    return list(value) if isinstance(value, tuple) else value


def print_description(content: dict[str, Any]) -> None:
    """Print what `describe_experiment` found."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(f"[bold]{content['name']}[/]: {content['title']}\n")
    if content["about"]:
        console.print(content["about"] + "\n", markup=False, soft_wrap=True)
    table = Table(
        "knob", "type", "default", "meaning", box=None, pad_edge=False, header_style="bold"
    )
    for name, knob in content["knobs"].items():
        default = knob["default"]
        shown = ",".join(map(str, default)) if isinstance(default, list) else str(default)
        if name in content["lacking"]:
            shown = "(to be set)"
        table.add_row(name, knob["type"], shown, knob["meaning"])
    console.print(table)
    if content["parts"]:
        console.print(
            "\n[bold]parts[/] (`harness describe PART` lists a part's knobs: --set PART.name=value)"
        )
    for name, part in content["parts"].items():
        shared = f", {part['shared']} of them shared" if part["shared"] else ""
        console.print(f"  {name}: {part['title']} ({part['cells']} cells{shared})", markup=False, soft_wrap=True)  # fmt: skip
    if content["lacking"]:
        console.print(f"\nits cells and their cost depend on --set {content['lacking'][0]}=...")
        return
    console.print("\n[bold]cells[/]")
    for name, cells in content["cells"].items():
        console.print(f"  {cells['count']:>6} {name:<12} {cells['gflop']:,.0f} GFLOP")
    console.print(f"  expected: about {content['expected_core_hours']:g} core hours on CPU cores")
    if content["published"]:
        console.print("\n[bold]the paper's numbers[/]")
        for each in content["published"]:
            shots = "all labels" if each["shots"] == "all" else f"{each['shots']} per class"
            plain = each["stream"] in ("rgb", "pixels")
            where = each["dataset"] if plain else f"{each['dataset']} {each['stream']}"
            console.print(
                f"  {where:<15} {shots:<12} {each['method']:<40} {each['value']} {each['unit']}  ({each['source']})"
            )


def plan_content(name: str, plan: Plan, stale: Mapping[str, str]) -> dict[str, Any]:
    """What a run would do, as plain JSON; `stale` is from `plan.stale`."""
    return {
        "experiment": name,
        "total": len(plan.cells),
        "done": len(plan.done),
        "to_run": len(plan.todo),
        "stale": sorted(stale.values()),
        "tasks": {
            task: {"cells": count, "to_run": todo, "gflop": cost}
            for task, count, todo, cost in plan.by_task()
        },
        "parts": part_counts(plan),
        "cells": [
            {"cell": cell.short, "task": type(cell.task).__name__, **cell.task.values()}
            for cell in plan.todo
        ],
    }


def part_counts(plan: Plan) -> dict[str, dict[str, int]]:
    """Cells of each part, and how many of them other parts need, too; empty for an experiment of one piece."""
    shared = plan.shared()
    return {
        name: {
            "cells": len(cells),
            "done": sum(cell.key in plan.done for cell in cells),
            "shared": sum(cell.key in shared for cell in cells),
        }
        for name, cells in plan.parts.items()
    }


def _print_parts(plan: Plan) -> None:
    """One line a part."""
    parts = part_counts(plan)
    width = max(map(len, parts), default=0)
    for name, part in parts.items():
        also = f", {part['shared']} of them shared with other parts" if part["shared"] else ""
        click.echo(f"  {name:<{width}}  {part['done']} of {part['cells']} cells done{also}")


def print_plan(name: str, plan: Plan, stale: Mapping[str, str], as_json: bool) -> None:
    """Print what a run would do, as a difference to what there is; `stale` is from `plan.stale`."""
    if as_json:
        click.echo(json.dumps(plan_content(name, plan, stale), indent=1, sort_keys=True))
        return
    of_them = f", {len(stale)} of them stale" if stale else ""
    click.echo(
        f"{name}: {len(plan.cells)} cells, {len(plan.done)} done, {len(plan.todo)} to run{of_them}"
    )
    for task, count, todo, cost in plan.by_task():
        seconds = cost / CPU_GFLOPS
        time = f"{seconds / 60:,.1f} core minutes" if seconds < 7200 else f"{seconds / 3600:,.0f} core hours"  # fmt: skip
        click.echo(f"  {task:<12} {todo:>5} of {count:<5} to run, {cost:,.0f} GFLOP (about {time})")
    _print_parts(plan)
    for reason in sorted(stale.values())[:SHOWN]:
        click.echo(f"  stale: {reason}")
    if len(stale) > SHOWN:
        click.echo(f"         and {len(stale) - SHOWN} more")


def print_status(name: str, plan: Plan, found: list[CellStatus], counts: dict[str, int]) -> None:
    """Print counts by state, by kind of cell and by part, and why cells failed."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(f"[bold]{name}[/]: {counts['done']} of {counts['total']} cells done")
    table = Table("cells", *STATES, box=None, pad_edge=False, header_style="bold")
    kinds = dict.fromkeys(each.label or each.task for each in found)
    for kind in kinds:
        row = [
            sum((each.label or each.task) == kind and each.state == state for each in found)
            for state in STATES
        ]
        table.add_row(kind, *(str(number) if number else "·" for number in row))
    console.print(table)
    _print_parts(plan)
    for state in ("done", "running", "waiting", "missing"):
        told = [each for each in found if each.state == state and each.detail]
        for each in told[:SHOWN]:
            text = f"{state}: {each.key[:16]} ({each.label or each.task}): {each.detail}"
            console.print(text, markup=False, soft_wrap=True)
        if len(told) > SHOWN:
            console.print(f"        and {len(told) - SHOWN} more {state}", markup=False)
    for each in found:
        if each.state == "failed":
            where = ", ".join(
                f"{key} {each.values[key]}"
                for key in ("shots", "split", "resample")
                if key in each.values
            )
            text = f"failed: {each.key[:16]} ({each.label or each.task}{', ' + where if where else ''}): {each.detail}"
            console.print(text, markup=False, soft_wrap=True)
            console.print(f"        harness logs {each.key[:16]}", markup=False)
