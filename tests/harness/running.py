"""Running `harness` as a user does, on a tiny fig12."""

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TINY = {
    "shots": "1,2",
    "resamples": 2,
    "units": 8,
    "layers": 1,
    "pretrain_steps": 6,
    "pretrain_batch": 8,
    "finetune_steps_few": 3,
    "single_frame_steps": 3,
}
NUM_CELLS = 13  # 3 methods x 2 shots x 2 resamples, and the pretraining they share


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    # Tracing encoders takes seconds a run: where it is tested it is switched on.
    return {**kept, "NO_COLOR": "1", "COLUMNS": "140", "HARNESS_LOG_MODELS": "0"}


@dataclass(frozen=True)
class Harness:
    """Runs `harness` on one work folder."""

    work: Path

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "harness", *words, "--workdir", str(self.work)]

    def __call__(
        self, *words: str, code: int | None = 0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        environ = {**environment(), **options.pop("env", {})}
        done = subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=240,
            env=environ,
            check=False,
            **options,
        )
        if code is not None:
            assert done.returncode == code, (
                f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def json(self, *words: str, **options: Any) -> Any:
        return json.loads(self(*words, "--json", **options).stdout)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def run_tiny(self, *more: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self("run", "fig12", *tiny(), *more, code=code)

    def csv(self, name: str = "fig12") -> bytes:
        return (self.work / "reports" / name / f"{name}.csv").read_bytes()

    def attempts(self) -> set[str]:
        return {str(path.relative_to(self.work)) for path in self.work.glob("runs/*/attempt-*")}

    def results(self) -> dict[str, dict[str, Any]]:
        return {
            path.parent.name: json.loads(path.read_bytes())
            for path in self.work.glob("runs/*/result.json")
        }


def tiny(**changes: object) -> list[str]:
    """The words that set TINY's knobs, some of them changed."""
    return sets({**TINY, **changes})


def sets(settings: Mapping[str, object]) -> list[str]:
    """The words that set these knobs."""
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def mlflow_cells(work: Path) -> Counter[str]:
    """How often each cell is in the MLflow database, among runs that are not deleted."""
    with sqlite3.connect(work / "mlflow.db") as database:
        found = database.execute(
            "select t.value from tags t join runs r using (run_uuid) where t.key = 'cell' and r.lifecycle_stage = 'active'"
        ).fetchall()
    return Counter(value for (value,) in found)
