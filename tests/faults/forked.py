"""Commands of `harness` in copies of one process that has imported everything: in a second or two, not in ten.

A copy does what `python -m harness` does, workers aside: it is given `--cluster inline`. Run as a module this is that process:
it reads a request a line, and answers it with a line, as JSON.
"""

import errno
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from tests.faults.points import ROOT, reports
from tests.harness.running import Harness, environment, mlflow_cells

QUICK = str(Path(__file__).with_name("quick.py"))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class At:
    """An error at a point by its name, and at every point that follows."""

    point: str
    ending: str
    """Of the path for which it is reached."""
    error: str


@dataclass(frozen=True)
class Left:
    """What runs of the quick experiment left in a work folder."""

    work: Path

    @property
    def reports(self) -> dict[str, bytes]:
        """All report files but the stamps that say what was drawn."""
        return reports(Harness(self.work))

    @property
    def accepted(self) -> dict[str, bytes]:
        """Results that count, by the short names of their cells."""
        return {
            path.parent.name: path.read_bytes() for path in self.work.glob("runs/*/result.json")
        }

    @property
    def attempts(self) -> dict[str, set[str]]:
        """Attempts by the short names of their cells."""
        return {
            cell.name: {each.name for each in cell.glob("attempt-*")}
            for cell in self.work.glob("runs/*")
        }

    @property
    def half_written(self) -> list[str]:
        """Files beside their final names, and probes."""
        return sorted(
            str(path.relative_to(self.work))
            for path in self.work.rglob(".*")
            if re.fullmatch(r"\..+\.\d+\.[0-9a-f]{12}|\.probe.*|\.tmp.*", path.name)
        )

    def is_as(self, other: "Left") -> bool:
        """Whether reports are the same, byte for byte, and every cell is there once, in the store as well."""
        return (
            self.reports == other.reports
            and len(other.reports) > 0
            and set(self.accepted) == set(other.accepted)
            and mlflow_cells(self.work) == mlflow_cells(other.work)
            and set(mlflow_cells(self.work).values()) == {1}
        )


class Forked:
    """That process, seen from a test."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forked"], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
        )  # fmt: skip

    def __call__(
        self, *words: str, plan: Mapping[str, str] | None = None, code: int | None = 0,
        env: Mapping[str, str] | None = None, cwd: Path | None = None, at: At | None = None,
    ) -> Ended:  # fmt: skip
        """Carry out a command.

        Args:
            words: after `harness`.
            plan: the variables that name a plan of faults (points.py).
            code: with which it has to end; None for any.
            env: further variables.
            cwd: the folder in which it is called.
            at: where the disk begins to fail.
        """
        request = {
            "words": words,
            "env": {**(plan or {}), **(env or {})},
            "cwd": str(cwd or ROOT),
            "at": at and asdict(at),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        ended = Ended(**json.loads(self._process.stdout.readline()))
        assert code is None or ended.code == code, (
            f"{words}: exit {ended.code}\n{ended.out}\n{ended.err}"
        )
        return ended

    def run(self, work: Path, **options: object) -> Ended:
        """Run the quick experiment in a work folder."""
        return self(
            "run", f"{QUICK}:quick", "--cluster", "inline", "--workdir", str(work), **options
        )  # type: ignore[arg-type]

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=100)


@contextmanager
def forked() -> Iterator[Forked]:
    """One that ends with the tests that share it."""
    made = Forked()
    try:
        yield made
    finally:
        made.close()


def _fail_from(at: At) -> None:
    from tasks.data import writing

    code = getattr(errno, at.error)
    begun: list[bool] = []

    def reached(point: str, path: Path) -> None:
        if begun or (point == at.point and str(path).endswith(at.ending)):
            begun.append(True)
            raise OSError(code, os.strerror(code), str(path))

    writing.reached = reached


def _carry_out(request: dict[str, object], out: IO[bytes], err: IO[bytes]) -> int:
    """In a copy: what `python -m harness` does."""
    for number, each in ((1, out), (2, err)):
        os.dup2(each.fileno(), number)
    os.environ.update(request["env"])  # type: ignore[call-overload]
    os.chdir(str(request["cwd"]))
    tempfile.tempdir = None  # asked for anew
    from harness.cli import main
    from tests.faults.site import sitecustomize

    if sitecustomize.PLAN in os.environ:
        sitecustomize.installed(Path(os.environ[sitecustomize.PLAN]))
    if request["at"]:
        _fail_from(At(**request["at"]))  # type: ignore[arg-type]
    sys.argv = ["harness", *request["words"]]  # type: ignore[misc]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - as the interpreter does it
        traceback.print_exc()
        return 1
    return 0


def serve() -> None:
    """Import all that a run needs, and answer requests."""
    from harness import gather, group, store, work

    del gather, group, store  # imported, for the copies
    work.prepare_process()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            pid = os.fork()
            if not pid:
                code = 98
                try:
                    code = _carry_out(json.loads(line), out, err)
                    sys.stdout.flush()
                    sys.stderr.flush()
                finally:
                    os._exit(code)
            ended = {"code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}
            for name, each in (("out", out), ("err", err)):
                each.seek(0)
                ended[name] = each.read().decode(errors="replace")  # type: ignore[assignment]
        answers.write(json.dumps(ended) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
