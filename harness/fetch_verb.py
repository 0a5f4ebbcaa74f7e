"""`harness data fetch`: MNIST's digits and Moving MNIST's test sequences, from a mirror to below the data root."""

import sys
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from harness.answers import EXIT_FAILED, EXIT_RUNNING, print_json, say, sentences
from harness.source import UsageError
from harness.words import OneOf, options
from tasks.data.fetchable import FETCHABLE

if TYPE_CHECKING:
    from rich.progress import Progress

    from tasks.data.fetch import Fetched


@click.command("fetch")
@click.argument("name", metavar="NAME", type=OneOf(tuple(FETCHABLE)))
@click.option(
    "--mirror",
    metavar="URL",
    envvar="HARNESS_MIRROR",
    show_envvar=True,
    help="Ask here and nowhere else: the URL of a folder that holds the files; http, https or file.",
)
@click.option("--again", is_flag=True, help="Fetch what is there too, and replace it.")
@options("json")
def fetch(name: str, mirror: str | None, again: bool, as_json: bool) -> None:
    """Fetch NAME: mnist, or moving-mnist-test, the official test sequences (819 MB).

    Files lie under $HARNESS_DATA (./data without it), in mnist. They get their names when their checksums are right; what was
    cut stays beside as NAME.part, and the same command goes on from there.

    \b
    harness data fetch mnist
    harness data fetch mnist --mirror file:///mnt/stick/mnist
    """  # noqa: D301 - \b is the character by which click keeps lines apart
    with sentences():
        from tasks.data.fetch import FetchBusy, NotFetched, check_mirror
        from tasks.data.fetch import fetch as fetch_files

        try:
            mirrors = [check_mirror(mirror)] if mirror else []
        except ValueError as error:
            raise UsageError(str(error)) from None
        fetched: list[Fetched] = []
        problem: NotFetched | FetchBusy | None = None
        try:
            with (
                FetchProgress() as progress,
                closing(
                    fetch_files(name, mirrors=mirrors, again=again, on_bytes=progress.on_bytes)
                ) as files,
            ):
                for file in files:
                    progress.stop()
                    fetched.append(file)
                    if not as_json:
                        click.echo(_line(file))
        except (NotFetched, FetchBusy) as error:
            problem = error
        if as_json:
            problems = [str(problem)] if problem else []
            print_json({"name": name, "files": [_as_data(file) for file in fetched], "problems": problems})  # fmt: skip
        if problem:
            say(f"harness: {problem}")
            sys.exit(EXIT_RUNNING if isinstance(problem, FetchBusy) else EXIT_FAILED)


class FetchProgress:
    """Bytes and rate of the file that is coming, on a terminal; elsewhere nothing. A context manager."""

    def __init__(self) -> None:
        """Begin with no file."""
        self._bar: Progress | None = None

    def __enter__(self) -> "FetchProgress":
        return self

    def on_bytes(self, name: str, here: int, total: int) -> None:
        """So many of a file's bytes are here."""
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = _bar()
            # It begins with what was here before, so that the rate is that of now.
            self._bar.add_task(name, total=total, completed=here)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], total=total, completed=here)

    def stop(self) -> None:
        """Leave the terminal to others, until bytes come again."""
        if self._bar:
            self._bar.stop()
        self._bar = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip


def _line(file: "Fetched") -> str:
    if file.mirror is None:
        return f"{file.path}: it is there already, and right"
    passed = "".join(f"; not from {base}: {reason}" for base, reason in file.failed)
    return f"{file.path}: {file.num_bytes:,} bytes from {file.mirror}, checked{passed}"


def _as_data(file: "Fetched") -> dict[str, Any]:
    return {
        "name": file.name,
        "path": str(file.path),
        "bytes": file.num_bytes,
        "mirror": file.mirror,
        "failed": dict(file.failed),
    }
