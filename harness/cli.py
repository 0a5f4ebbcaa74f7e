"""`harness`: the command line's verbs. Words become objects here; every verb's work is elsewhere.

Nothing heavy (torch, mlflow, pandas, matplotlib) is imported before a verb needs it.
"""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.answers import (
    EXIT_FAILED,
    EXIT_RUNNING,
    check_name,
    print_json,
    resolve,
    say,
    sentences,
    workdir_at,
)
from harness.data_verbs import data
from harness.look_back_verbs import compare, show, verify
from harness.result_verbs import collect, report, ui
from harness.source import UsageError
from harness.words import OneOf, Place, Verbs, options

if TYPE_CHECKING:
    from configs.experiment import Experiment
    from harness.source import Source
    from harness.workdir import Workdir

PATIENCE_S = 120.0
"""Seconds that a run on a cluster waits for the closing job of an earlier one."""
WATCH_S = 5.0
"""Seconds between two looks of `harness status --watch`."""


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="video-lstm-harness", prog_name="harness")
def cli() -> None:
    """Reproduce "Unsupervised Learning of Video Representations using LSTMs", and put your own encoder through it.

    \b
    harness run fig12             run what is missing, draw the figure and the table
    harness describe fig12        what it computes, its knobs, its cost, the paper's numbers
    harness status fig12          what is done, running, waiting, failed, missing
    harness ui                    compare cells in MLflow
    """  # noqa: D301 - \b is the character by which click keeps lines apart


for verb in (data, report, collect, ui, show, verify, compare):
    cli.add_command(verb)


@cli.command("list")
@click.argument(
    "what", type=OneOf(("experiments", "tasks", "models", "datasets")), default="experiments"
)
@options("json")
def list_(what: str, as_json: bool) -> None:
    """List experiments, tasks, models or datasets."""
    with sentences():
        if what == "experiments":
            from harness.source import names

            table = names()
        else:
            from configs.data import built_in, indexed
            from tasks import registry

            table = dict(
                {"tasks": registry.TASKS, "models": registry.MODELS, "datasets": registry.DATASETS}[
                    what
                ]
            )
            if what == "datasets":
                table = built_in() | dict.fromkeys(
                    indexed(), "indexed videos (`harness data list`)"
                )
        if as_json:
            print_json(table)
            return
        width = max(map(len, table))
        for name, text in table.items():
            click.echo(f"{name:<{width}}  {text}")


@cli.command()
@options("name", "set", "json")
def describe(name: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Say what an experiment computes, its knobs, its cells, its expected cost and the paper's numbers."""
    with sentences():
        from harness.describe import describe_experiment, print_description
        from harness.source import find

        source = find(name)
        experiment = None if source.lacking(settings) else source.experiment(settings)
        content = describe_experiment(source, experiment)
        if as_json:
            print_json(content)
        else:
            print_description(content)


@cli.command()
@options("name", "set")
@click.option(
    "--cluster",
    type=Place(("inline", "local", "slurm")),
    default="local",
    show_default=True,
    metavar="inline|local|slurm|FILE.toml",
    help="Where to run: in this process, in worker processes here, or on a SLURM cluster (FILE.toml describes yours).",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes at the same time.  [default: one per GPU, or per core]",
)
@click.option(
    "--ranks",
    type=click.IntRange(min=1),
    help="Processes per pretraining cell (DDP), on each of its nodes.  [default: 1, or as the cluster says]",
)
@click.option(
    "--together",
    type=click.IntRange(min=1),
    help="Classifiers that a process trains together, at most, as one stacked model.  [default: 10 on GPUs, else 1]",
)
@click.option(
    "--dry-run", is_flag=True, help="Print the plan (and what sbatch would get) and stop."
)
@click.option(
    "--follow/--detach",
    default=None,
    help="On a cluster: stay until all is over, or return at once.  [default: --detach]",
)
@click.option(
    "--pack",
    type=click.IntRange(min=1),
    help="On a cluster: cells per array task.  [default: as many as take about two minutes]",
)
@click.option(
    "--allow-dirty",
    is_flag=True,
    help="On a cluster: submit code that was altered since its commit.",
)
@options("workdir", "json")
def run(
    name: str,
    settings: tuple[str, ...],
    cluster: str,
    jobs: int | None,
    ranks: int | None,
    together: int | None,
    dry_run: bool,
    follow: bool | None,
    pack: int | None,
    allow_dirty: bool,
    workdir: Path,
    as_json: bool,
) -> None:
    """Run what an experiment lacks, and draw its report.

    NAME is an experiment, or FILE.py:FUNCTION for one of your own. Running the same command again sends only what is
    missing.
    """
    with sentences():
        from harness import aftermath, launch, plan
        from harness.describe import print_plan

        place = workdir_at(workdir)
        source, experiment, settings = resolve(name, settings, place, as_last_run=False)
        check_name(source, place)
        if cluster not in ("inline", "local"):
            _run_on_cluster(
                source, experiment, settings, place, cluster,
                ranks=ranks, dry_run=dry_run, follow=bool(follow), pack=pack, together=together,
                allow_dirty=allow_dirty, as_json=as_json,
            )  # fmt: skip
            return
        if cluster == "inline" and max(ranks or 1, jobs or 1, together or 1) > 1:
            raise UsageError(
                "--cluster inline is one process, which does one cell at a time: leave --ranks, --jobs and --together out, "
                "or use --cluster local"
            )
        waiting = "--detach" if follow is False else "--follow"
        for word, given in (
            (waiting, follow is not None),
            ("--pack", pack),
            ("--allow-dirty", allow_dirty),
        ):
            if given:
                raise UsageError(f"{word} is for clusters: leave it out, or add --cluster slurm")
        if dry_run:
            made = plan.make(experiment, place)
            print_plan(source.name, made, plan.stale(made, place), as_json)
            return
        place.prepare()
        with place.locked(f"harness run {source.name}"):
            made = aftermath.settled(experiment, place, say)
            for reason in made.damaged.values():
                say(f"{reason}: treated as missing, its cell is done again")
            place.remember(source.name, source=source.text, settings=settings)
            options = launch.Options(
                cluster="inline" if cluster == "inline" else "local",
                jobs=jobs,
                ranks=ranks or 1,
                together=together,
            )
            outcome = launch.run(source, experiment, made, place, settings, options)
        _report_outcome(source.name, place, made, outcome, as_json)


def _run_on_cluster(
    source: "Source",
    experiment: "Experiment",
    settings: tuple[str, ...],
    place: "Workdir",
    cluster: str,
    *,
    ranks: int | None,
    dry_run: bool,
    follow: bool,
    pack: int | None,
    together: int | None,
    allow_dirty: bool,
    as_json: bool,
) -> None:
    from harness import aftermath, clustered, plan

    site = clustered.find_cluster(cluster, ranks)
    if dry_run:
        made = plan.make(experiment, place)
        clustered.preview(source, made, place, site, pack, together, as_json=as_json)
        return
    note = clustered.check_code(allow_dirty=allow_dirty)
    if note:
        say(note)
    place.prepare()
    with place.locked(f"harness run {source.name}", patience_s=PATIENCE_S, on_wait=say):
        made = aftermath.settled(experiment, place, say)
        for reason in made.damaged.values():
            say(f"{reason}: treated as missing, its cell is done again")
        place.remember(source.name, source=source.text, settings=settings)
        told = (
            clustered.send(source, experiment, made, place, settings, site, pack, together)
            if made.todo
            else None
        )
        outcome = None if made.todo else clustered.bring_home(source, experiment, made, place, settings)  # fmt: skip
    if told is not None:
        for line in told.lines:
            say(line)
        if follow:
            try:
                outcome = clustered.follow(source, experiment, place, settings, made)
            except KeyboardInterrupt:
                say(
                    f"harness: no longer followed; the jobs go on: `harness status {source.name}` shows them"
                )
                sys.exit(EXIT_RUNNING)
        elif as_json:
            print_json(told.content)
    if outcome is not None:
        _report_outcome(source.name, place, made, outcome, as_json)
    if told is not None and told.problem:
        say(f"harness: {told.problem}")
        sys.exit(EXIT_FAILED)


def _report_outcome(name: str, place: "Workdir", before: Any, outcome: Any, as_json: bool) -> None:
    from harness import printed
    from harness.uri import place_of_store

    total, done = len(outcome.plan.cells), len(outcome.plan.done)
    for problem in outcome.problems:
        say(f"harness: {problem}")
    cells = {cell.key: cell for cell in outcome.plan.cells}
    if as_json:
        print_json(
            {
                "experiment": name,
                "total": total,
                "done": done,
                "ran": done - len(before.done),
                "failed": {cells[key].short: why for key, why in outcome.failed.items()},
                "report": {file: str(path) for file, path in outcome.drawn.items()},
                "mlflow": place_of_store(place),
                "problems": list(outcome.problems),
                "undrawn": sorted(outcome.undrawn),
            }
        )
    else:
        if not before.todo:
            say(f"{name}: nothing to run, all {total} cells are done")
        for label, file in (
            ("figure", f"{name}.png"),
            ("table", f"{name}.md"),
            ("page", f"{name}.html"),
            ("numbers", f"{name}.csv"),
        ):
            if file in outcome.drawn:
                click.echo(f"{label + ':':<9}{outcome.drawn[file]}")
        if sys.stdout.isatty():
            printed.show(
                {each: outcome.drawn[each] for each in outcome.drawn if each == f"{name}.json"}
            )
        if outcome.plan.parts:
            click.echo(f"{'parts:':<9}{', '.join(outcome.plan.parts)}: a folder each beside it")
        click.echo(f"{'MLflow:':<9}{place_of_store(place)}  (harness ui --workdir {place.root})")
    if outcome.failed or done < total:
        say(
            f"harness: {total - done} of {total} cells have no result; `harness status {name}` lists them"
        )
        sys.exit(EXIT_FAILED)
    if outcome.undrawn:
        sys.exit(EXIT_FAILED)


@cli.command()
@options("name", "set", "workdir", "json")
@click.option("--watch", is_flag=True, help="Show it again and again until nothing runs or waits.")
def status(name: str, settings: tuple[str, ...], workdir: Path, as_json: bool, watch: bool) -> None:
    """Count an experiment's cells by state. Exit code 75 while a run is at work, 1 if cells failed, 0 otherwise."""
    with sentences():
        from harness import plan
        from harness import status as looking
        from harness.describe import part_counts, print_status

        place = workdir_at(workdir)
        _, experiment, settings = resolve(name, settings, place, as_last_run=True)
        made = plan.make(experiment, place)
        found = looking.look(made, place)
        counts = looking.count(found)
        while watch and (counts["running"] or counts["waiting"]):
            if not as_json:
                click.clear()
                print_status(name, made, found, counts)
            time.sleep(WATCH_S)
            made = plan.refresh(made, place)
            found = looking.look(made, place)
            counts = looking.count(found)
        if as_json:
            told = [looking.content(each) for each in found if each.state != "done"]
            failed = [each for each in told if each["state"] == "failed"]
            print_json(
                {
                    "experiment": name,
                    "settings": list(settings),
                    **counts,
                    "parts": part_counts(made),
                    "failures": failed,
                    "open": told,
                }
            )
        else:
            print_status(name, made, found, counts)
        if counts["running"] or counts["waiting"]:
            sys.exit(EXIT_RUNNING)
        if counts["failed"]:
            sys.exit(EXIT_FAILED)


@cli.command()
@options("name", "workdir", "json")
def cancel(name: str, workdir: Path, as_json: bool) -> None:
    """End an experiment's jobs on the cluster; what is finished is kept, and `harness run` sends the rest again."""
    with sentences():
        from harness import clustered

        jobs = clustered.cancel(name.rpartition(":")[2], workdir_at(workdir))
        if as_json:
            print_json({"experiment": name, "cancelled": sorted(jobs)})
        else:
            say(f"{name}: {len(jobs)} jobs cancelled" if jobs else f"{name}: no job queues or runs")


@cli.command()
@click.argument("cell", metavar="CELL")
@click.option("-f", "--follow", is_flag=True, help="Go on until the cell is done or given up.")
@options("workdir", "json")
def logs(cell: str, follow: bool, workdir: Path, as_json: bool) -> None:
    """Print the log of a cell's newest attempt. CELL is its key, or the first digits of it."""
    with sentences():
        from harness.logs import find_cell_folder, follow_log, read_logs

        place = workdir_at(workdir)
        folder = find_cell_folder(place, cell)
        if follow and as_json:
            raise UsageError("--follow prints a log as it grows, --json an answer: leave one out")
        if follow and not follow_log(place, folder, lambda text: click.echo(text, nl=False), say):
            say(
                f"harness: {read_logs(place, folder)['error'] or 'it has no result, and nobody has it in hand'}"
            )
            sys.exit(EXIT_FAILED)
        if follow:
            return
        content = read_logs(place, folder)
        if as_json:
            print_json(content)
            return
        say(f"{content['folder']} ({content['state']})")
        click.echo(content["log"], nl=False)
        if content["error"]:
            say(f"harness: it failed: {content['error']}")


@cli.command()
@click.option(
    "--cluster",
    type=Place(("slurm",)),
    metavar="slurm|FILE.toml",
    help="Look at this cluster, too, and at one of its nodes by a small job.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.IntRange(min=1),
    metavar="SECONDS",
    help="With --cluster: how long to wait for that job.  [default: 120]",
)
@options("workdir", "json")
def doctor(cluster: str | None, wait_s: int | None, workdir: Path, as_json: bool) -> None:
    """Look at this machine, or a cluster, and say what a run would find there and what to do about it."""
    with sentences():
        from harness.consult import consult

        sys.exit(consult(workdir_at(workdir), cluster, wait_s, as_json=as_json))


@cli.command()
@click.argument("shell", type=OneOf(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash: eval "$(harness completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "harness", "_HARNESS_COMPLETE").source())


def main() -> None:
    """Entry point."""
    cli(prog_name="harness")
