"""Trials: runs of a small experiment with faults, one after the other in one work folder, and what they must not have done.

A cell is lost when it had an accepted result that is not there any more, or has other bytes. It is repeated when an attempt at
it began after its result was accepted. A leftover is a file of a write that did not end, a checkpoint of a finished cell, or
a process that is still there. Processes are looked for in /proc, which only Linux has.
"""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tasks.data.writing import BESIDE
from tests.faults.points import Plan, Point, reports
from tests.harness.running import Harness, environment, mlflow_cells, sets

SMALL = f"{Path(__file__).resolve().parent / 'small.py'}:small"
ATTEMPT = re.compile(rb"attempt-\d{8}T\d{6}\.\d{6}-\d+")
LIMIT_S = 600.0
"""Seconds that a command may take before it counts as hung: many times what it takes on a crowded machine."""
PAUSE_S = 0.2
"""Seconds that a process stays stopped, at least, before it goes on."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Its exit code; less than 0 for the signal that ended it."""
    told: str
    faults: Counter[str]
    """That happened, by kind."""


@dataclass
class Trial:
    """A work folder, and what became of its cells so far."""

    folder: Path
    settings: Mapping[str, object] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    accepted: dict[str, bytes] = field(default_factory=dict)
    """Results by the short names of their cells, as they were when they were first seen."""
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    """That its last run took."""
    _runs: int = 0

    @property
    def harness(self) -> Harness:
        return Harness(self.folder / "work")

    @property
    def words(self) -> tuple[str, ...]:
        return ("run", SMALL, *sets(self.settings), *self.options)

    @property
    def log(self) -> Path:
        """Of all points that processes of this trial reach, in their order."""
        return self.folder / "points.log"

    @property
    def points(self) -> list[Point]:
        return Plan.of_log(self.log)

    def start(
        self, *words: str, faults: Mapping[int | str, str] | None = None, **plan: object
    ) -> "Running":
        """Start a command, by default that of the experiment.

        Args:
            words: of the command.
            faults: by their points (site/sitecustomize.py).
            plan: more of the plan.
        """
        self._runs += 1
        made = Plan.of(
            self.folder / f"plan-{self._runs}", faults, log=str(self.log), after=len(self.points), **plan
        )  # fmt: skip
        for path in self.harness.work.glob("runs/*/result.json"):
            self.accepted.setdefault(path.parent.name, path.read_bytes())
        told = self.folder / f"told-{self._runs}.txt"
        with told.open("wb") as sink:
            process = subprocess.Popen(
                self.harness.command(*(words or self.words)),
                stdout=sink,
                stderr=sink,
                env={**environment(), **made.environment, "TRIAL": str(self.folder)},
            )
        return Running(self, process, told, len(self.points), len(self._faults()))

    def run(
        self, *words: str, faults: Mapping[int | str, str] | None = None, **plan: object
    ) -> Ended:
        """Run a command to its end, whatever that is, and look what became of the cells; see `start`."""
        return self.start(*words, faults=faults, **plan).ended()

    def processes(self) -> list[int]:
        """Those of this trial that live, whoever their parent is now."""
        mark = f"TRIAL={self.folder}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in words:
                found.append(int(process.name))
        return found

    def end_all(self) -> None:
        """Kill whatever of it lives."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def look(self, since: int) -> None:
        """Hold what happened against what was accepted.

        Args:
            since: the number of points before it.
        """
        done = set(self.accepted)
        for point in self.points[since:]:
            cell = _cell(point)
            if point.name == "linked":
                done.add(cell)
            elif point.name == "attempt" and cell in done:
                self.repeated.append(cell)
        for cell, content in self.accepted.items():
            path = self.harness.work / "runs" / cell / "result.json"
            if not path.exists() or path.read_bytes() != content:
                self.lost.append(cell)
        for path in self.harness.work.glob("runs/*/result.json"):
            self.accepted.setdefault(path.parent.name, path.read_bytes())

    def _faults(self) -> list[str]:
        """Kinds of faults that happened at points."""
        told = self.log.with_name(f"{self.log.name}.faults")
        lines = told.read_text().splitlines() if told.exists() else []
        return [line.rpartition("\t")[2] for line in lines]

    def leftovers(self) -> list[str]:
        """What should not be there once a run has ended well."""
        work = self.harness.work
        found = [
            str(path.relative_to(work))
            for path in work.rglob("*")
            if BESIDE.fullmatch(path.name)
            or path.name.startswith((".probe-", "checkpoint-"))
            or path.name.endswith(("-journal", "-wal"))
            or path == work / "driver.json"
        ]
        return [*found, *(f"process {pid}" for pid in self.processes())]

    def drawn(self) -> dict[str, bytes]:
        """All report files; ids of attempts, which are times, are left out."""
        return {
            name: ATTEMPT.sub(b"ATTEMPT", content)
            for name, content in reports(self.harness).items()
        }

    def wrong(self, undisturbed: "Trial") -> dict[str, list[str]]:
        """What faults have done, by kind, against a trial without any: empty where nothing was."""
        ours, theirs = self.drawn(), undisturbed.drawn()
        found = {
            "lost": self.lost,
            "repeated": self.repeated,
            "missing": sorted(undisturbed.accepted.keys() - self.accepted.keys()),
            "leftovers": self.leftovers(),
            "differing reports": [
                name
                for name in sorted(ours.keys() | theirs.keys())
                if ours.get(name) != theirs.get(name)
            ],
            "not once in MLflow": self._not_once_in_mlflow(),
        }
        return {kind: names for kind, names in found.items() if names}

    def _not_once_in_mlflow(self) -> list[str]:
        counted = mlflow_cells(self.harness.work)
        cells = {cell[:16]: number for cell, number in counted.items()}
        return [
            f"{cell}: {cells.get(cell, 0)} runs"
            for cell in sorted(self.accepted.keys() | cells.keys())
            if cells.get(cell) != 1
        ]


@dataclass
class Running:
    """A command that runs."""

    trial: Trial
    process: subprocess.Popen[bytes]
    told: Path
    points_before: int
    faults_before: int

    @property
    def said(self) -> str:
        """What it said so far."""
        return self.told.read_text(errors="replace")

    def ended(self) -> Ended:
        """Wait until it has ended, letting stopped processes go on meanwhile, and look what became of the cells.

        Raises:
            AssertionError: when it hangs.
        """
        began = time.monotonic()
        while self.process.poll() is None:
            if time.monotonic() > began + LIMIT_S:
                self.trial.end_all()
                self.process.wait()
                raise AssertionError(f"it hangs: {self.said}")
            self.let_go_on()
            time.sleep(PAUSE_S)
        self.trial.seconds = time.monotonic() - began
        self.trial.look(self.points_before)
        happened = Counter(self.trial._faults()[self.faults_before :])
        self.trial.faults += happened
        return Ended(self.process.returncode, self.said, happened)

    def let_go_on(self) -> None:
        """Have stopped processes of the trial go on, if there are any."""
        for pid in self.trial.processes():
            if is_stopped(pid):
                time.sleep(PAUSE_S)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def _cell(point: Point) -> str:
    """The short name of the cell whose folder a point's path lies in; empty for others."""
    parts = Path(point.path.strip("'\"")).parts
    return parts[parts.index("runs") + 1] if "runs" in parts else ""


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped and does not go on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def wait_until(what: Callable[[], object], pause_s: float = 0.02) -> None:
    """Wait for something that will come about.

    Raises:
        AssertionError: when it does not, for many times as long as it takes.
    """
    deadline = time.monotonic() + LIMIT_S
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come about")
        time.sleep(pause_s)
