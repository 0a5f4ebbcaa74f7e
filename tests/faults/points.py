"""Runs of `harness` with faults at points of writing, and what is left of them: reports, attempts, runs in MLflow."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.harness.running import Harness

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Point:
    """A point that a process reached."""

    pid: int
    role: str
    name: str
    path: str


@dataclass(frozen=True)
class Plan:
    """A plan of faults (site/sitecustomize.py) in a folder of its own."""

    folder: Path

    @classmethod
    def of(
        cls, folder: Path, faults: Mapping[int | str, str] | None = None, **more: object
    ) -> "Plan":
        """Write one; without faults it only counts."""
        folder.mkdir(parents=True)
        told = {"log": str(folder / "points.log"), "faults": dict(faults or {}), **more}
        (folder / "plan.json").write_text(json.dumps(told))
        return cls(folder)

    @property
    def environment(self) -> dict[str, str]:
        """Of the processes that are to follow it."""
        before = os.environ.get("PYTHONPATH", "")
        places = [str(HERE / "site"), str(ROOT), *([before] if before else [])]
        return {
            "PYTHONPATH": os.pathsep.join(places),
            "HARNESS_FAULT_PLAN": str(self.folder / "plan.json"),
        }

    @property
    def points(self) -> list[Point]:
        """Reached so far, in order."""
        return self.of_log(self.folder / "points.log")

    @staticmethod
    def of_log(log: Path) -> list[Point]:
        """The points in a plan's log, in order."""
        lines = log.read_text().splitlines() if log.exists() else []
        return [
            Point(int(pid), role, name, path)
            for pid, role, name, path in (line.split("\t", 3) for line in lines)
        ]


def reports(harness: Harness) -> dict[str, bytes]:
    """All report files by where they are, but for the stamps that say what was drawn."""
    folder = harness.work / "reports"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
