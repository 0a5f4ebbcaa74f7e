"""`harness report`, `harness collect` and `harness ui`: from results to figures, tables and MLflow, and back."""

import sys
from pathlib import Path

import click

from configs.experiment import FORMATS
from configs.knobs import did_you_mean
from harness.answers import EXIT_FAILED, print_json, resolve, say, sentences, workdir_at
from harness.source import UsageError
from harness.words import options


@click.command()
@options("name", "set", "workdir")
@click.option(
    "--format",
    "formats",
    default=",".join(FORMATS),
    show_default=True,
    help="Comma-separated formats.",
)
@click.option("--show", is_flag=True, help="Print its main table here, too.")
@click.option(
    "--from",
    "address",
    metavar="URI",
    help="Draw from this MLflow store alone, without results: http(s)://... or sqlite:///PATH.",
)
@click.option(
    "--folder",
    default="",
    metavar="ID",
    help="With --from: whose, where several work folders collected it there.",
)
@options("json")
def report(
    name: str,
    settings: tuple[str, ...],
    workdir: Path,
    formats: str,
    address: str | None,
    folder: str,
    show: bool,
    as_json: bool,
) -> None:
    """Draw an experiment's report from the results in the work folder, or from a tracking store."""
    with sentences():
        from harness import plan, printed, publish

        wanted = tuple(dict.fromkeys(each.strip() for each in formats.split(",") if each.strip()))
        for each in wanted:
            if each not in FORMATS:
                raise UsageError(
                    f"'{each}' is no format{did_you_mean(each, FORMATS)} (formats: {', '.join(FORMATS)})"
                )
        place = workdir_at(workdir)
        if address is not None:
            if settings:
                raise UsageError("--from draws what was collected, with its knobs: leave --set out")
            from harness.tracking import report_from

            sys.exit(report_from(name, address, folder, place, wanted, show=show, as_json=as_json))
        if folder:
            raise UsageError("--folder is for --from URI: leave it out")
        source, experiment, settings = resolve(name, settings, place, as_last_run=True)
        place.prepare()
        made = plan.make(experiment, place)
        for reason in made.damaged.values():
            say(f"{reason}: treated as missing")
        made_of = wanted if not show or "json" in wanted else (*wanted, "json")
        drawn = publish.draw(source.name, experiment, made, place, settings, made_of)
        if made.todo:
            say(
                f"{len(made.todo)} of {len(made.cells)} cells have no result: the report says which"
            )
        if as_json:
            print_json({file: str(path) for file, path in drawn.files.items()})
        else:
            for path in drawn.files.values():
                click.echo(str(path))
            if show:
                printed.show(drawn.files)
        for problem in drawn.problems.values():
            say(f"harness: {problem}")
        if drawn.problems:
            sys.exit(EXIT_FAILED)


@click.command()
@options("name", "set", "workdir")
@click.option(
    "--to",
    "address",
    metavar="URI",
    help="Into this MLflow store, http(s)://... or sqlite:///PATH.  [default: MLFLOW_TRACKING_URI, or the work folder's own]",
)
@options("json")
def collect(
    name: str, settings: tuple[str, ...], workdir: Path, address: str | None, as_json: bool
) -> None:
    """Bring an experiment's results to MLflow; what is there already is left alone."""
    with sentences():
        from harness import plan
        from harness.tracking import address_of
        from harness.uri import shown, uri

        place = workdir_at(workdir)
        to = address_of(address) if address is not None else ""
        source, experiment, settings = resolve(name, settings, place, as_last_run=True)
        place.prepare()
        with place.locked(f"harness collect {source.name}"):
            made = plan.make(experiment, place)
            for reason in made.damaged.values():
                say(f"{reason}: treated as missing")
            from harness import publish
            from harness.gather import GatheringFailed, gather

            # What lies there may be drawn from other results, or with other knobs.
            if not publish.is_current(source.name, experiment, made, place, settings):
                drawn = publish.draw(source.name, experiment, made, place, settings)
                for problem in drawn.problems.values():
                    say(f"harness: {problem}")
            try:
                number = gather(source.name, experiment, made, place, settings, to)
            except GatheringFailed as error:
                say(f"harness: {error}")
                sys.exit(EXIT_FAILED)
        if as_json:
            print_json(
                {
                    "experiment": source.name,
                    "collected": number,
                    "total": len(made.cells),
                    "mlflow": shown(to or uri(place)),
                }
            )
        else:
            click.echo(f"{number} of {len(made.cells)} cells are in {shown(to or uri(place))}")


@click.command()
@options("workdir")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def ui(workdir: Path, port: int, host: str) -> None:
    """Open the MLflow UI on the store of the work folder."""
    with sentences():
        from harness.uri import own, serve_ui, uri

        place = workdir_at(workdir)
        if uri(place) == own(place) and not place.database.exists():
            place.prepare()
            from harness.whole_database import ready  # MLflow's server would make it in steps

            ready(own(place), is_own=True)
        sys.exit(serve_ui(place, host, port))
