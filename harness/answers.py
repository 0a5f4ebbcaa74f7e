"""What every verb does with words and answers: find the experiment, print data and messages, turn errors into sentences.

Data goes to stdout, messages and progress to stderr. Exit codes: 0 done, 1 some cells failed, 2 wrong usage, 75 still
running, 130 interrupted.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.source import UsageError

if TYPE_CHECKING:
    from configs.experiment import Experiment
    from harness.source import Source
    from harness.workdir import Workdir

EXIT_FAILED, EXIT_USAGE, EXIT_RUNNING, EXIT_INTERRUPTED = 1, 2, 75, 130


def say(text: str) -> None:
    """Tell a person something, on stderr."""
    click.echo(text, err=True)


def print_json(content: Any) -> None:
    """Print data on stdout."""
    click.echo(json.dumps(content, indent=1, sort_keys=True))


def workdir_at(path: Path) -> "Workdir":
    """The work folder at a path, `~` understood."""
    from harness.workdir import Workdir

    return Workdir(path.expanduser())


def resolve(
    words: str, settings: tuple[str, ...], workdir: "Workdir", *, as_last_run: bool
) -> tuple["Source", "Experiment", tuple[str, ...]]:
    """Find an experiment; verbs that look back use the knobs of its last run where none are given."""
    from configs.knobs import parse, spell
    from harness.source import find, names

    name = words.rpartition(":")[2]
    record = workdir.remembered(name) if as_last_run else None
    # A bare name that is known here alone is an experiment of a file that was run in this folder.
    foreign = record is not None and ":" not in words and words not in names()
    source = find(record.source if record and foreign else words)
    if record and record.source == source.text and not settings:
        settings = record.settings
        if settings:
            say(f"knobs as in the last run: {' '.join(settings)}")
    try:
        settings = spell(parse(source.function, settings))
    except ValueError as error:
        raise UsageError(f"{source.name}: {error}") from None
    return source, source.experiment(settings), settings


def check_name(source: "Source", workdir: "Workdir") -> None:
    """Two experiments of one name would share a report, an MLflow experiment and a record.

    Raises:
        UsageError: when the name is taken by another one.
    """
    from harness.source import names

    record = workdir.remembered(source.name)
    taken = record.source if record and record.source != source.text else ""
    if source.text != source.name and source.name in names():
        taken = f"the experiment {source.name} that is known by name"
    if taken:
        raise UsageError(
            f"the name '{source.name}' is taken by {taken}: rename the function, or use another --workdir"
        )


@contextmanager
def sentences() -> Iterator[None]:
    """Errors of the user's or the machine's become one sentence and an exit code; tracebacks are for our bugs."""
    from harness.workdir import WorkdirBusy, WorkdirUnusable
    from slurm.queue import NoAnswer

    try:
        yield
    except (UsageError, WorkdirUnusable) as error:
        say(f"harness: {error}")
        sys.exit(EXIT_USAGE)
    except NoAnswer as error:
        say(f"harness: {error}")
        sys.exit(EXIT_FAILED)
    except WorkdirBusy as error:
        say(f"harness: {error}")
        sys.exit(EXIT_RUNNING)
    except KeyboardInterrupt:
        say(
            "harness: interrupted; what was finished is kept, and the same command continues from there"
        )
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(EXIT_FAILED)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        say(
            f"harness: {error.strerror or error}{where}; what was finished is kept: mend it and run the same command again"
        )
        sys.exit(EXIT_FAILED)
