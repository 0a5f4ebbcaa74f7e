"""The work folder: where runs, reports and the tracking store live, and who may write there.

runs/<key>/<attempt>/   one attempt at a cell: log, provenance, checkpoints, result, predictions, weights
runs/<key>/result.json  the accepted attempt's result: the fact that the cell is done
reports/<experiment>/   figures and tables
submissions/<id>/       what was sent to a cluster, and what its jobs said
doctor/<stamp>/         what a probe job told `harness doctor` about a compute node
experiments/<name>.json the knobs of the last `harness run` of that name
mlflow.db, mlartifacts/ the tracking store, rebuilt from the results at any time
"""

import errno
import fcntl
import json
import os
import random
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from harness.files import write, write_json
from tasks.cell import SHORT, Cell
from tasks.data import writing

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What file systems answer that have no locks."""
LOOKING_S = 10.0
"""Seconds for which a driver waits for processes that only look who drives; each does so for a moment."""
INODE = "inode "
"""Before the number, in the file that has a folder's identity."""


class Remembered(NamedTuple):
    """How an experiment was last run here."""

    source: str
    """A name, or an absolute FILE.py:function."""
    settings: tuple[str, ...]


class WorkdirBusy(Exception):
    """Another process drives this work folder."""


class WorkdirUnusable(Exception):
    """The work folder cannot be created or written."""


@dataclass(frozen=True, slots=True)
class Workdir:
    """Paths inside a work folder."""

    root: Path

    @property
    def runs(self) -> Path:
        """Folder of all cells' runs."""
        return self.root / "runs"

    def cell(self, cell: Cell) -> Path:
        """Folder of one cell's attempts."""
        return self.runs / cell.short

    def accepted(self, key: str) -> Path:
        """The accepted result of the cell with this key, if it is there."""
        return self.runs / key[:SHORT] / "result.json"

    def report(self, name: str) -> Path:
        """Folder of one experiment's report."""
        return self.root / "reports" / name

    @property
    def logs(self) -> Path:
        """What workers said outside any cell."""
        return self.root / "logs"

    @property
    def database(self) -> Path:
        """The MLflow store, unless MLFLOW_TRACKING_URI names another."""
        return self.root / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Files that MLflow keeps."""
        return self.root / "mlartifacts"

    def experiment(self, name: str) -> Path:
        """The record of the last run of an experiment."""
        return self.root / "experiments" / f"{name}.json"

    @property
    def driver(self) -> Path:
        """What the driver at work says of itself."""
        return self.root / "driver.json"

    def identities(self) -> tuple[str, ...]:
        """What tells this folder's runs from another folder's in a tracking store; then that of what it is a copy of.

        The first is its own: made once, and kept in `.id` with the folder's path and inode number. It is kept where the path
        is the same, and where the inode is: `mv` within a file system, a link, another mount. Under another path a folder
        with another inode, or whose former path has a folder of the same identity, is a copy and gets one of its own.

        What came from another file system or out of a backup to another path is a copy to this rule, though it may have been
        moved: it then writes runs beside those of before, and nobody's are touched. A copy at the very same path on another
        machine cannot be told from a folder that was restored, and is taken for that. An `.id` of one line, or of a version
        of this file that noted no inode, goes by the paths alone. Devices are not compared: their numbers differ from one
        machine of a cluster to the next. A path of which a line cannot be made, as of a newline, is kept as JSON.
        """
        path, here, inode = self.root / ".id", str(self.root.resolve()), self.root.stat().st_ino
        known, place, *rest = [*_lines(path), ""] if path.exists() else ["", ""]
        if place.startswith('"'):
            with suppress(ValueError):  # else it is no place where anything is
                place = str(json.loads(place))
        noted = [each.removeprefix(INODE) for each in rest if each.startswith(INODE)]
        copied_from = [each for each in rest if each and not each.startswith(INODE)]
        is_same_inode = noted in ([], [str(inode)])
        is_elsewhere = bool(known and place) and place != here
        if is_elsewhere and (not is_same_inode or self._is_copy_of(Path(place), known)):
            known, copied_from = "", [known, *copied_from]
        known = known or uuid.uuid4().hex
        if place != here or noted != [str(inode)]:
            line = here if here.isprintable() else json.dumps(here)
            write(path, "\n".join([known, line, f"{INODE}{inode}", *copied_from, ""]).encode())
        return (known, *copied_from)

    def _is_copy_of(self, other: Path, identity: str) -> bool:
        """Whether another folder that is there has this identity."""
        try:
            return _lines(other / ".id")[:1] == [identity] and not other.samefile(self.root)
        except OSError:
            return False

    def prepare(self) -> None:
        """Create the folder and see that it can be written.

        Raises:
            WorkdirUnusable: when it cannot, or its name is one that files of weights and the store cannot have.
        """
        try:
            str(self.root.resolve()).encode()
        except UnicodeEncodeError:
            raise WorkdirUnusable(
                f"the work folder's name {str(self.root)!r} is no UTF-8, which weights and the store need: choose another with "
                "--workdir"
            ) from None
        try:
            writing.make_folder(self.root)
            # Without a name, so that nothing is left of it where the disk is full or this process is killed.
            with tempfile.TemporaryFile(dir=self.root, buffering=0) as probe:
                probe.write(b"\0" * 4096)
        except OSError as error:
            reason = error.strerror or str(error)
            raise WorkdirUnusable(
                f"the work folder {self.root} cannot be written ({reason}): free some space or its permissions, or "
                "choose another with --workdir"
            ) from None

    @contextmanager
    def locked(
        self, purpose: str, *, patience_s: float = 0.0, on_wait: Callable[[str], None] | None = None
    ) -> Iterator[None]:
        """Be the only driver of this folder.

        Args:
            purpose: what for, told to others.
            patience_s: seconds to wait while another process drives it.
            on_wait: told once, in a sentence, that it waits and for whom.

        Raises:
            WorkdirBusy: when another process does; nothing was changed.
            WorkdirUnusable: when the file system has no locks, or they fail.
        """
        with (self.root / ".lock").open("a+", encoding="utf-8") as handle:
            deadline = time.monotonic() + patience_s
            while not self._taken(handle):
                handle.seek(0)
                who = handle.read().strip() or "another process"
                if time.monotonic() >= deadline:
                    raise WorkdirBusy(
                        f"{who} is at work in {self.root}: wait for it, watch it with `harness status`, or use "
                        "another --workdir"
                    )
                if on_wait is not None:
                    on_wait(f"waiting for {who}")
                    on_wait = None
                time.sleep(0.2)
            self.driver.unlink(missing_ok=True)  # of a driver that was killed
            handle.truncate(0)
            since = datetime.now(UTC).strftime("%H:%M:%S UTC")
            handle.write(
                f"`{purpose}` (process {os.getpid()} on {socket.gethostname()}, since {since})"
            )
            handle.flush()
            try:
                yield
            finally:
                handle.truncate(0)

    def _taken(self, handle: IO[str]) -> bool:
        """Take the lock on this open file; False when a driver has it."""
        looked_until = time.monotonic() + LOOKING_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            except OSError as error:
                raise WorkdirUnusable(
                    f"the work folder {self.root} cannot be locked ({error.strerror}), and two runs in it would disturb each "
                    "other: mount its file system with locks, or choose another with --workdir"
                ) from None
            else:
                return True
            # Those who look take it for a moment, shared with others who do: that is no driver.
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            fcntl.flock(handle, fcntl.LOCK_UN)
            if time.monotonic() > looked_until:
                return False
            time.sleep(random.uniform(0.001, 0.003))  # of two that try at once, one comes first

    def is_driven(self) -> bool:
        """Whether a driver is at work here now; looking does not keep one from starting.

        Raises:
            OSError: when that cannot be told: the lock cannot be opened, or locks fail.
        """
        lock = self.root / ".lock"
        try:
            with lock.open("r", encoding="utf-8") as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno in NO_LOCKS:
                return False  # no driver starts here
            raise OSError(error.errno, error.strerror, str(lock)) from None
        return False

    def remember(self, name: str, *, source: str, settings: tuple[str, ...]) -> None:
        """Record with which knobs an experiment was last run, for status, report and collect."""
        write_json(self.experiment(name), {"source": source, "settings": list(settings)})

    def remembered(self, name: str) -> Remembered | None:
        """The record of the last run of an experiment, if there is a readable one."""
        try:
            record = json.loads(self.experiment(name).read_bytes())
            return Remembered(str(record["source"]), tuple(map(str, record["settings"])))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _lines(path: Path) -> list[str]:
    """Of a text file, ended by line feeds alone: a path may hold other ends of lines; what is no UTF-8 is shown as such."""
    return path.read_bytes().decode(errors="replace").rstrip("\n").split("\n")
