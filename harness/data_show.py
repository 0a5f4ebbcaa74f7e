"""What people read of sets of videos: progress, faults, an index, all sets. Data on stdout, the rest on stderr."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from harness.answers import say

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from tasks.data.build import Findings
    from tasks.data.index import Index

PLAIN_EVERY_S = 10.0


class Progress:
    """How far something is: a bar on a terminal, a line now and then elsewhere; a context manager."""

    def __init__(self, title: str, total: int, what: str) -> None:
        """Begin at none of `total`."""
        self._title, self._total, self._what = title, total, what
        self._done = 0
        self._said_at = time.monotonic()
        self._bar: RichProgress | None = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(self._what), TimeRemainingColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._bar.start()
            self._bar.add_task(self._title, total=self._total)
        return self

    def advance(self) -> None:
        """One more is done."""
        self._done += 1
        if self._bar:
            self._bar.advance(self._bar.task_ids[0])
        elif time.monotonic() - self._said_at > PLAIN_EVERY_S:
            self._said_at = time.monotonic()
            self._say()

    def _say(self) -> None:
        say(f"{self._title}: {self._done} of {self._total} {self._what}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
        self._say()


def show_findings(findings: "Findings", *, list_missing: bool) -> None:
    """List every file that a person should know of, by kind, each kind counted.

    Args:
        findings: what was found.
        list_missing: False where most of a set may be missing on purpose: they are counted only.
    """
    bad = [f"{each.path}: {each.reason}" for each in findings.unreadable]
    damaged = [f"{each.path}: {each.reason}" for each in findings.damaged]
    for what, lines in (
        ("missing: not in the folder", findings.missing),
        ("unreadable: no frame can be decoded", bad),
        ("damaged", damaged),
        ("extra: in the folder and not in the lists, left alone", findings.extra),
        ("short: fewer than 16 frames, kept", findings.short),
    ):
        if lines:
            say(f"{len(lines)} {what}")
            for line in lines if list_missing or lines is not findings.missing else ():
                say(f"  {line}")


def as_data(findings: "Findings") -> dict[str, Any]:
    """The same as JSON."""
    return {
        "missing": list(findings.missing),
        "unreadable": {each.path: each.reason for each in findings.unreadable},
        "damaged": {each.path: each.reason for each in findings.damaged},
        "extra": list(findings.extra),
        "short": list(findings.short),
    }


def summary(index: "Index") -> dict[str, Any]:
    """The numbers of a set, as JSON."""
    seconds = sum(video.num_frames / video.fps for video in index.videos if video.fps)
    return {
        "name": index.name,
        "videos": len(index.videos),
        "classes": len(index.classes),
        "groups": len({video.group for video in index.videos}),
        "splits": {
            str(number): [len(split.train), len(split.test)]
            for number, split in index.splits.items()
        },
        "splits_from": index.splits_from,
        "frames": sum(video.num_frames for video in index.videos),
        "hours": round(seconds / 3600, 4),
        "has_files": index.has_files,
        "left_out": len(index.left_out),
        "partial": index.partial,
        "notes": list(index.notes),
        "identity": index.identity,
    }


def show_index(index: "Index", path: Path) -> None:
    """Say what was indexed."""
    told = summary(index)
    click.echo(
        f"{index.name}: {told['videos']:,} videos, {told['classes']} classes, {told['groups']:,} groups, "
        f"{told['frames']:,} frames, {_time(told['hours']) if index.has_files else 'no files'}"
    )
    for number, (train, test) in told["splits"].items():
        click.echo(f"split {number}: {train:,} to train, {test:,} to test")
    for note in index.notes:
        click.echo(f"note: {note}")
    click.echo(f"index: {path}")


def _time(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def show_sets(root: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A line a set."""
    if not rows:
        click.echo(
            f"no set is indexed in {root}: `harness data index NAME --videos DIR ...` does it"
        )
        return
    table = [("name", "videos", "classes", "splits", "frames", "hours", "left out", "features")]
    table += [
        (
            f"{row['name']} (partial)" if row["partial"] else row["name"],
            f"{row['videos']:,}",
            str(row["classes"]),
            str(len(row["splits"])),
            f"{row['frames']:,}",
            f"{row['hours']:.2f}" if row["has_files"] else "-",
            str(row["left_out"]),
            ", ".join(row["features"]) or "-",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:-1], strict=True)]
        click.echo("  ".join([*cells, line[-1]]))
