"""Trials: runs of a small experiment with faults, one after the other in one work folder, and what they must not have done.

A cell is lost when it had an accepted result that is not there any more, or has other bytes. It is repeated when an attempt at
it began after its result was accepted. A leftover is a file of a write that did not end, a checkpoint of a finished cell, or
a process that is still there.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tasks.data.writing import BESIDE
from tests.faults.points import Plan, Point, reports
from tests.harness.running import Harness, environment, mlflow_cells, sets

HERE = Path(__file__).resolve().parent
SMALL = f"{HERE / 'small.py'}:small"
ATTEMPT = re.compile(rb"attempt-\d{8}T\d{6}\.\d{6}-\d+")
LIMIT_S = 300.0
"""Seconds that a command may take before it counts as hung: many times what it takes on a crowded machine."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    told: str
    reached: tuple[Point, ...]
    """Points that its processes reached."""
    faults: int
    """That happened."""


@dataclass
class Trial:
    """A work folder, and what became of its cells so far."""

    folder: Path
    settings: Mapping[str, object] = field(default_factory=dict)
    reached: list[Point] = field(default_factory=list)
    accepted: dict[str, bytes] = field(default_factory=dict)
    """Results by the short names of their cells, as they were when they were first seen."""
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    faults: int = 0
    _runs: int = 0

    @property
    def harness(self) -> Harness:
        return Harness(self.folder / "work")

    @property
    def words(self) -> list[str]:
        return ["run", SMALL, *sets(self.settings)]

    def run(
        self,
        *words: str,
        faults: Mapping[int, str] | None = None,
        beside: Callable[[subprocess.Popen[bytes], "Trial"], int] | None = None,
        **plan: object,
    ) -> Ended:
        """Run a command, by default that of the experiment, with faults at points, and look what became of the cells.

        Args:
            words: of the command.
            faults: by the number of the point (site/sitecustomize.py).
            beside: does harm while it runs, and says how often.
            plan: more of the plan.
        """
        self._runs += 1
        made = Plan.of(self.folder / f"plan-{self._runs}", faults, **plan)
        done_before = set(self.harness.results())
        told = self.folder / f"told-{self._runs}.txt"
        with told.open("wb") as sink, _continued(made) as continued:
            process = subprocess.Popen(
                self.harness.command(*(words or self.words)),
                stdout=sink,
                stderr=sink,
                env={**environment(), **made.environment, self._mark: "1"},
            )
            harm = beside(process, self) if beside else 0
            try:
                code = process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                for pid in self.processes():
                    os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"{words or self.words} hangs: {told.read_text()}") from None
        points = made.points
        happened = harm + continued.count + len(
            [
                number
                for number, how in (faults or {}).items()
                if number <= len(points) and how != "STOP"
            ]
        )
        self._look(points, done_before)
        self.faults += happened
        return Ended(code, told.read_text(errors="replace"), tuple(points), happened)

    @property
    def _mark(self) -> str:
        """The environment variable by which this trial's processes are told from others."""
        return f"TRIAL_{abs(hash(str(self.folder))):x}"

    def processes(self) -> list[int]:
        """Those of this trial that live, whoever their parent is now."""
        mark = f"{self._mark}=1".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                of_ours = mark in (process / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if of_ours:
                found.append(int(process.name))
        return found

    def _look(self, points: list[Point], done_before: set[str]) -> None:
        """Hold what happened against what was accepted."""
        self.reached += points
        done = set(done_before)
        for point in points:
            cell = _cell(point)
            if point.name == "linked":
                done.add(cell)
            elif point.name == "attempt" and cell in done:
                self.repeated.append(cell)
        for path in self.harness.work.glob("runs/*/result.json"):
            self.accepted.setdefault(path.parent.name, path.read_bytes())
        for cell, content in self.accepted.items():
            path = self.harness.work / "runs" / cell / "result.json"
            if not path.exists() or path.read_bytes() != content:
                self.lost.append(cell)

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
            "leftover": self.leftovers(),
            "differing report": [
                name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
            ],
            "runs in MLflow": self._runs_in_mlflow(),
        }
        return {kind: names for kind, names in found.items() if names}

    def _runs_in_mlflow(self) -> list[str]:
        counted = mlflow_cells(self.harness.work)
        cells = {cell[:16]: number for cell, number in counted.items()}
        return [
            f"{cells.get(cell, 0)} of {cell}"
            for cell in self.accepted.keys() | cells.keys()
            if cells.get(cell) != 1
        ]


def _cell(point: Point) -> str:
    """The short name of the cell whose folder a point's path lies in; empty for others."""
    parts = Path(point.path.strip("'\"")).parts
    return parts[parts.index("runs") + 1] if "runs" in parts else ""


@dataclass
class _Continued:
    count: int = 0


@contextmanager
def _continued(plan: Plan, pause_s: float = 0.2) -> Iterator[_Continued]:
    """Let processes that a plan stops go on after a while, and count them."""
    counted, over = _Continued(), threading.Event()

    def watch() -> None:
        while not over.wait(pause_s):
            for pid in {point.pid for point in plan.points}:
                if _is_stopped(pid):
                    counted.count += 1
                    over.wait(pause_s)
                    try:
                        os.kill(pid, signal.SIGCONT)
                    except ProcessLookupError:
                        continue

    stops = "STOP" in (plan.folder / "plan.json").read_text()
    thread = threading.Thread(target=watch, daemon=True)
    if stops:
        thread.start()
    try:
        yield counted
    finally:
        over.set()
        if stops:
            thread.join()


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def wait_until(what: Callable[[], object], pause_s: float = 0.02) -> None:
    """Wait for something that will come about."""
    deadline = time.monotonic() + LIMIT_S
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come about")
        time.sleep(pause_s)


if sys.platform != "linux":
    raise RuntimeError("trials look for processes in /proc, which only Linux has")
