"""`harness` in this process, beside a SLURM whose commands a test writes (the fixture `work`)."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from harness.cli import cli
from tests.harness.running import tiny


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), prog_name="harness")


def write_command(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(work: Path, *words: str) -> Result:
    return invoke(
        "run", "fig12", *tiny(), "--cluster", "slurm", "--workdir", str(work), *(words or ("--allow-dirty",))
    )  # fmt: skip


def content(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def name_of_jobs(work: Path) -> str:
    (folder,) = (work / "submissions").iterdir()
    return f"harness-fig12-{folder.name}"
