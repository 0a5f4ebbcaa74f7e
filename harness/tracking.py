"""What the verbs do with an MLflow store that is named on the command line: `collect --to`, `report --from`."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import click

from harness.answers import EXIT_FAILED, print_json, say
from harness.source import UsageError
from harness.uri import NoAddress, checked

if TYPE_CHECKING:
    from harness.workdir import Workdir


def address_of(words: str, *, exists: bool = False) -> str:
    """The address that was given.

    Raises:
        UsageError: when it is none, or of a database that should be there and is not.
    """
    try:
        return checked(words, exists=exists)
    except NoAddress as error:
        raise UsageError(str(error)) from None


def report_from(
    words: str,
    uri: str,
    folder: str,
    workdir: "Workdir",
    formats: Collection[str],
    *,
    show: bool,
    as_json: bool,
) -> int:
    """Draw a report from a tracking store.

    Returns:
        The exit code.

    Raises:
        UsageError: when the address is none, the store has no such experiment, or it is not known here how to draw it.
    """
    address = address_of(uri, exists=True)
    from harness import printed
    from harness.redraw import redraw  # MLflow and pandas
    from harness.tracked import NotTracked

    workdir.prepare()
    try:
        made_of = formats if not show or "json" in formats else (*formats, "json")
        drawn = redraw(words, address, folder, workdir, made_of)
    except NotTracked as error:
        raise UsageError(str(error)) from None
    for cell, reason in drawn.lost.items():
        say(f"cell {cell[:16]}: {reason}: treated as missing")
    if drawn.missing:
        say(f"{drawn.missing} of {drawn.cells} cells have no result: the report says which")
    say(f"drawn from what {drawn.folder} collected")
    if as_json:
        print_json({file: str(path) for file, path in drawn.files.items()})
    else:
        for path in drawn.files.values():
            click.echo(str(path))
        if show:
            printed.show(drawn.files)
    for problem in drawn.problems.values():
        say(f"harness: {problem}")
    return EXIT_FAILED if drawn.problems else 0
