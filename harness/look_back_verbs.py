"""`harness show`, `verify`, `compare`: where a number comes from, whether it still holds, and how two methods differ.

Words become objects here; the work is in `harness.lineage`, `harness.verify` and `harness.comparands`.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from configs.knobs import did_you_mean
from harness.answers import EXIT_FAILED, print_json, resolve, say, sentences, workdir_at
from harness.source import UsageError
from harness.words import options

if TYPE_CHECKING:
    from harness.comparands import Question

COMPARED = ("terminal", "md", "csv", "html", "tex", "json")
"""Forms of a comparison."""


@click.command()
@click.argument("cell", metavar="CELL")
@options("workdir", "json")
def show(cell: str, workdir: Path, as_json: bool) -> None:
    """Print everything that a cell's numbers lead back to. CELL is its key, or the first digits of it.

    The question with every value, the reports that draw it, its scores, run, commit, packages, machine, data, files, and what it
    rests on. Every file is read and checked. Exit code 1 if there is a result that is not what was sealed.
    """
    with sentences():
        from harness.lineage import lineage
        from harness.look_back import show_lineage

        told = lineage(workdir_at(workdir), cell)
        if as_json:
            print_json(told)
        else:
            show_lineage(told)
        if told["state"] == "damaged":
            sys.exit(EXIT_FAILED)


@click.command()
@options("name", "set", "workdir", "json")
def verify(name: str, settings: tuple[str, ...], workdir: Path, as_json: bool) -> None:
    """Compute an experiment's scores and reports again from the stored predictions, and say whether they agree.

    Exit code 0 only if every file, score and report agrees and nothing is missing, else 1. Nothing is changed on disk.
    """
    with sentences():
        from harness import verify as verifying
        from harness.data_show import Progress
        from harness.look_back import show_verified

        place = workdir_at(workdir)
        source, experiment, settings = resolve(name, settings, place, as_last_run=True)
        steps = 2 * len(experiment.all_cells())
        with Progress(f"verifying {source.name}", steps, "steps") as progress:
            told = verifying.verify(source.name, experiment, place, settings, progress.advance)
        if as_json:
            content = dataclasses.asdict(told)
            print_json(
                {"experiment": source.name, "settings": list(settings), "agrees": told.whole, **content}
            )  # fmt: skip
        else:
            show_verified(source.name, told)
        if not told.whole:
            sys.exit(EXIT_FAILED)


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--format",
    "formats",
    default="terminal",
    show_default=True,
    help=f"Comma-separated: {', '.join(COMPARED)}. All but terminal are files in --out.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where files go.  [default: comparisons/ in the work folder of A]",
)
@click.option(
    "--videos",
    "shown",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Videos in the table of changed answers; csv has all.",
)
@options("workdir", "json")
def compare(
    first: str,
    second: str,
    formats: str,
    out: Path | None,
    shown: int,
    workdir: Path,
    as_json: bool,
) -> None:
    """Compare two methods, two experiments or two work folders: B minus A, cell by cell.

    A and B are [FOLDER/]EXPERIMENT[.PART][:METHOD], or a FOLDER: then every experiment that both have. Experiments are those
    that were run there, with the knobs of their last run; METHOD is a label, its row's name in the report, or an unambiguous
    part of one. Cells are paired by dataset, stream, split, labelled videos and resample; what has no partner is named.

    \b
    harness compare fig12:LSTM fig12:Composite
    harness compare table1:single table3:Autoencoder
    harness compare work-a/fig12 work-b/fig12
    harness compare work-a/fig12:single work-b/fig12
    harness compare work-a work-b
    harness compare fig12:LSTM fig12:Composite --format md,csv,html --out .
    """  # noqa: D301 - \b is the character by which click keeps lines apart
    with sentences():
        from harness import comparands

        wanted = [each.strip() for each in formats.split(",") if each.strip()]
        for each in wanted:
            if each not in COMPARED:
                raise UsageError(
                    f"'{each}' is no format{did_you_mean(each, COMPARED)} (formats: {', '.join(COMPARED)})"
                )
        place = workdir_at(workdir)
        asked = comparands.questions(first, second, place)
        folder = out or comparands.parse(first, place).place.root / "comparisons"
        _compare(list(asked), wanted, folder, shown, as_json=as_json)


def _compare(
    asked: "list[Question]", wanted: list[str], folder: Path, shown: int, *, as_json: bool
) -> None:
    """Print and write every comparison; of several, one that cannot be made costs the others nothing."""
    from harness import files
    from harness.look_back import console
    from harness.printed import show_table
    from reports.comparison import compare as find
    from reports.comparison_record import about, record
    from reports.comparison_tables import tables
    from reports.compose import compose

    content = {}
    for each in asked:
        try:
            found = find(each.first, each.second)
        except ValueError as error:
            if len(asked) == 1:
                raise UsageError(str(error)) from None
            say(f"harness: {each.name}: {error}")
            continue
        report = tables(found, each.first, each.second, shown=shown)
        evidence = about(each.name, each.first, each.second)
        if as_json:
            content[each.name] = json.loads(record(found, each.first, each.second))
        elif "terminal" in wanted:
            click.echo(f"{evidence.title}\n{report.lead}")
            for table in (*(table for _, table in report.sections), report.missing):
                if table is not None:
                    show_table(dataclasses.asdict(table), console())
        for file, written in compose(evidence, report, wanted).items():
            files.write(folder / file, written)
            say(str(folder / file))
    if as_json:
        print_json(content)
