"""A run's result on disk: written once, checked whenever read, accepted exactly once.

An attempt writes its result in its own folder. The cell is done when runs/<key>/result.json exists, and that is
made by one hard link, which only one attempt can make: a second attempt that ends later (SLURM can run a job
twice) finds it there and leaves it alone. A result that does not pass its own checksum, or whose files are not
there, is treated as missing, and said aloud.
"""

import json
import logging
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import files, provenance, stamp
from harness.workdir import Workdir
from slurm import queue
from tasks.cell import SHORT, Cell
from tasks.data import writing

LOG = logging.getLogger(__name__)
FORMAT = 1
NAME = "result.json"
FAILURE = "failure.json"
ORIGIN = "provenance.json"
CHECKPOINTS = "checkpoint-*.pt"
"""An attempt's checkpoints (checkpoint.py)."""

# The line that states the checksum, with the comma that goes with it: its own, or the one before it where it is the last.
_CHECKSUM = re.compile(rb'\n "sha256": "(\w{64})",(?=\n)|,\n "sha256": "(\w{64})"(?=\n}\n\Z)')


class DamagedResult(Exception):
    """A result file that cannot be believed."""


@dataclass(frozen=True, slots=True)
class Result:
    """An accepted run."""

    body: Mapping[str, Any]
    cell_folder: Path

    @property
    def attempt(self) -> str:
        """The attempt's id: the run's id."""
        return str(self.body["attempt"])

    @property
    def folder(self) -> Path:
        """Folder of the attempt."""
        return self.cell_folder / self.attempt

    def weights(self) -> dict[str, str]:
        """sha256 of what a cell that needs this one rests on: its files of weights, or its predictions if it has none."""
        digests = {name: str(each["sha256"]) for name, each in self.body["files"].items()}
        weights = {name: each for name, each in digests.items() if name.endswith(".safetensors")}
        return weights or {
            name: each for name, each in digests.items() if name == "predictions.parquet"
        }

    @property
    def scores(self) -> list[dict[str, Any]]:
        """What was measured."""
        return list(self.body["scores"])


def new_attempt(workdir: Workdir, cell: Cell) -> Path:
    """Create the folder of a new attempt at a cell; its name is the attempt's id.

    What killed processes had not yet written to an end in earlier ones goes: of checkpoints it may be a lot.
    """
    for earlier in attempts(workdir, cell):
        writing.remove_abandoned(earlier)
    return _new_attempt(workdir.cell(cell))


def _new_attempt(folder: Path) -> Path:
    attempt = stamp.new_folder(folder, "attempt-")
    writing.reached("attempt", attempt)
    return attempt


def attempts(workdir: Workdir, cell: Cell) -> list[Path]:
    """Folders of all attempts at a cell, oldest first."""
    return sorted(workdir.cell(cell).glob("attempt-*"))


def discard_checkpoints(folders: Iterable[Path]) -> None:
    """Remove the checkpoints of attempts at a finished cell."""
    for folder in folders:
        for path in folder.glob(CHECKPOINTS):
            with suppress(OSError):
                writing.remove(path)


def seal(folder: Path, body: Mapping[str, Any], kept: Mapping[str, bytes]) -> None:
    """Write an attempt's files and then its result, which names and checks them."""
    listing = {}
    for name, content in kept.items():
        files.write(folder / name, content)
        listing[name] = {"bytes": len(content), "sha256": files.sha256(content)}
    sealed = {**body, "format": FORMAT, "attempt": folder.name, "files": listing}
    sealed["sha256"] = files.sha256(files.to_json(sealed))
    files.write_json(folder / NAME, sealed)


def accept(folder: Path) -> bool:
    """Make an attempt's result the cell's.

    Returns:
        Whether this attempt is the accepted one; False when another one was before.

    Raises:
        OSError: when the disk is full, read-only or gone; this attempt is not accepted then.
    """
    accepted = folder.parent / NAME
    try:
        writing.link(folder / NAME, accepted)
    except OSError as error:
        # What counts is what is there: after an error of the disk's, and where a file server lost its own answer and calls
        # the link that it had just made one that exists.
        if not _is_same(folder / NAME, accepted):
            if isinstance(error, FileExistsError):
                return False
            raise
        LOG.warning("accepted, though its folder could not be flushed: %s", error)
    return True


def _is_same(own: Path, accepted: Path) -> bool:
    """Whether an accepted result is this one: it names its attempt, so no other has the same bytes."""
    try:
        return own.read_bytes() == accepted.read_bytes()
    except OSError:
        return False


def read(workdir: Workdir, cell: Cell, *, verify: bool = False) -> Result | None:
    """The accepted result of a cell, or None if there is none.

    Args:
        workdir: the work folder.
        cell: the cell.
        verify: read every file of the attempt and check its sha256; else of files that are younger than the result alone.

    Raises:
        DamagedResult: when there is one that cannot be believed; it names files by where they are in the work folder.
    """
    return read_key(workdir, cell.key, verify=verify)


def read_key(workdir: Workdir, key: str, *, verify: bool = False) -> Result | None:
    """As `read`, of a cell of which no more than its key is known."""
    path = workdir.accepted(key)
    return _read(path, path.parent, workdir, key, verify=verify)


def read_attempt(workdir: Workdir, key: str, attempt: Path) -> Result | None:
    """What an attempt at a cell sealed, every file of it checked; None when it sealed nothing or cannot be believed.

    Args:
        workdir: the work folder.
        key: the cell's.
        attempt: the attempt's folder.
    """
    try:
        found = _read(attempt / NAME, attempt.parent, workdir, key, verify=True)
    except DamagedResult:
        return None
    return found if found is not None and found.attempt == attempt.name else None


def _read(
    path: Path, cell_folder: Path, workdir: Workdir, key: str, *, verify: bool
) -> Result | None:
    try:
        content, sealed_ns = path.read_bytes(), path.stat().st_mtime_ns
    except FileNotFoundError:
        return None  # before anything else: of a large plan most results are not there yet
    except OSError as error:
        raise DamagedResult(
            f"{path.relative_to(workdir.root)} cannot be read ({error.strerror})"
        ) from None
    # Reports repeat what is said of damage, and name no folder of this machine.
    shown = path.relative_to(workdir.root)
    if not _is_intact(content):
        raise DamagedResult(f"{shown} is cut short or altered")
    body = json.loads(content)
    del body["sha256"]
    if body.get("format") != FORMAT or body.get("cell") != key:
        raise DamagedResult(
            f"{shown} is not a result of cell {key[:SHORT]} that this version can read"
        )
    result = Result(body, cell_folder)
    # Of a result that comes from the future, as a clock that was set back makes it, nothing is known to be younger.
    verify = verify or sealed_ns > time.time_ns()
    for name, listed in body["files"].items():
        file = cell_folder.relative_to(workdir.root) / result.attempt / name
        try:
            told = (result.folder / name).stat()
        except OSError:
            raise DamagedResult(f"{file}, which belongs to {shown}, is missing") from None
        if told.st_size != listed["bytes"]:
            raise DamagedResult(f"{file} has {told.st_size} bytes instead of {listed['bytes']}")
        # Files are written before the result that names them: a younger one was touched, or copied.
        doubtful = verify or told.st_mtime_ns > sealed_ns
        if doubtful and files.sha256_of(result.folder / name) != listed["sha256"]:
            raise DamagedResult(f"{file} was altered since it was written")
    return result


def unsealed(content: bytes) -> dict[str, Any] | None:
    """What a sealed result says; None when it is cut short or altered."""
    if not _is_intact(content):
        return None
    body: dict[str, Any] = json.loads(content)
    return body


def _is_intact(content: bytes) -> bool:
    """Whether a sealed result passes its own checksum, which is that of all its lines but the one that states it.

    Those lines are what `seal` hashed, as keys are sorted; and no other line can look so: inside a text a line feed is
    escaped, and nested keys are indented further. Writing the body as JSON again would take ten times as long.
    """
    stated = ["".join(each.decode() for each in found) for found in _CHECKSUM.findall(content)]
    return stated == [files.sha256(_CHECKSUM.sub(b"", content))]


def set_aside(workdir: Workdir, cell: Cell) -> None:
    """Rename a damaged result, so that the cell can be done again and the damage be looked at."""
    path = workdir.cell(cell) / NAME
    writing.rename(path, path.with_name(f"damaged-{stamp.now()}.json"))


def failure(workdir: Workdir, cell: Cell) -> str | None:
    """Why the newest attempt at a cell failed, in one line, or None if it did not."""
    tried = attempts(workdir, cell)
    if not tried:
        return None
    try:
        return str(json.loads((tried[-1] / FAILURE).read_bytes())["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note_death(workdir: Workdir, cell: str, detail: str) -> None:
    """Record why the newest attempt ended, unless it did so itself: its process may have been killed.

    Args:
        workdir: the work folder.
        cell: the cell's key.
        detail: why, in one line.
    """
    tried = sorted(workdir.accepted(cell).parent.glob("attempt-*"))
    # A worker that died before it opened its attempt has none: the newest is then another job's.
    if provenance.slurm_job() is not None and not (
        tried and made_by(tried[-1]) == queue.this_task()
    ):
        note_refusal(workdir, cell, detail)
    elif tried:
        write_failure(tried[-1], error=detail)


def note_cause(workdir: Workdir, cell: str, detail: str) -> None:
    """Record why the newest attempt ended, in place of what its other ranks said of it.

    Args:
        workdir: the work folder.
        cell: the cell's key.
        detail: why, in one line.
    """
    note_death(workdir, cell, detail)  # opens an attempt where there is none
    _write_failure(sorted(workdir.accepted(cell).parent.glob("attempt-*"))[-1], detail, "")


def note_refusal(workdir: Workdir, cell: str, detail: str) -> None:
    """Record, as an attempt that failed, why a cell was not begun."""
    folder = _new_attempt(workdir.accepted(cell).parent)
    files.write_json(folder / ORIGIN, {"job": provenance.slurm_job()})
    write_failure(folder, error=detail)


def made_by(attempt: Path) -> str:
    """SLURM's id of the job or array task that made an attempt; empty if none did, or it cannot be told."""
    try:
        job = json.loads((attempt / ORIGIN).read_bytes())["job"]
        return str(job["id"]) if job else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def write_failure(folder: Path, *, error: str, trace: str = "") -> None:
    """Record that an attempt failed; of several ranks' reasons the first stays: the others follow from it."""
    if not (folder / FAILURE).exists():
        _write_failure(folder, error, trace)


def _write_failure(folder: Path, error: str, trace: str) -> None:
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    files.write_json(folder / FAILURE, {"error": error, "trace": trace, "ended": ended})
