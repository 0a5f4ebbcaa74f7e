"""What a submission would be, for `--dry-run`: the shapes of its arrays, the hours, and the very scripts."""

from typing import Any

import click

from harness.plan import Plan
from harness.send import Composition
from slurm import sbatch


def content(composition: Composition, plan: Plan) -> dict[str, Any]:
    """As plain JSON."""
    cost = {cell.key: cell.task.gflop() for cell in plan.cells}
    gflop = sum(cost[key] for array in composition.arrays for task in array.tasks for key in task)
    what = "gpu_hours" if composition.cluster.gpus_per_node else "core_hours"
    return {
        "to_send": composition.num_cells,
        "in_hand": len(composition.in_hand),
        what: round(gflop / composition.cluster.expected_gflops / 3600, 3),
        "arrays": [
            {
                "array": array.name,
                "tasks": len(array.tasks),
                "cells": sum(map(len, array.tasks)),
                "most_per_task": max(map(len, array.tasks)),
                "nodes": array.nodes,
                "ranks": array.ranks,
                "dependency": composition.request(array, {}).dependency,
            }
            for array in composition.arrays
        ],
        "sbatch": [sbatch.text(composition.request(array, {})) for array in composition.arrays]
        + ([sbatch.text(composition.closing({}))] if composition.arrays else []),
    }


def show(composition: Composition, plan: Plan) -> None:
    """Print it for people."""
    told = content(composition, plan)
    hours = (
        f"{told['gpu_hours']:g} GPU hours"
        if "gpu_hours" in told
        else f"{told['core_hours']:g} core hours"
    )
    hours += f" at {composition.cluster.expected_gflops:,.0f} GFLOP/s a process (process_gflops)"
    click.echo(
        f"to send: {told['to_send']} cells in {len(told['arrays'])} arrays, about {hours}"
        + (f"; {told['in_hand']} more queue or run already" if told["in_hand"] else "")
    )
    for each in told["arrays"]:
        after = f", {each['dependency']}" if each["dependency"] else ""
        click.echo(
            f"  {each['array']}: {each['tasks']} tasks of up to {each['most_per_task']} cells ({each['cells']} in all), "
            f"{each['ranks']} ranks on {each['nodes']} nodes each{after}"
        )
    if told["arrays"]:
        click.echo("  closing job: one CPU, collects and draws whatever happened")
    for text in told["sbatch"]:
        click.echo(f"\n{text}", nl=False)
