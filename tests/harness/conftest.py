"""A finished work folder of a tiny fig12, made once."""

import subprocess
from pathlib import Path

import pytest

from tests.harness.running import Harness


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path / "work")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """A tiny fig12, run undisturbed. Tests read it and change nothing."""
    made = Harness(tmp_path_factory.mktemp("finished") / "work")
    made.run_tiny()
    return made


@pytest.fixture
def copy_of_finished(finished: Harness, tmp_path: Path) -> Harness:
    """The same in a folder of the test's own."""
    subprocess.run(["cp", "-a", str(finished.work), str(tmp_path / "copied")], check=True)
    return Harness(tmp_path / "copied")
