"""Fixtures of tests of MLflow: results without a store, what a store has after an undisturbed collecting, and a client that gives up soon."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness import whole_database
from harness.uri import address_of
from harness.workdir import Workdir
from tests.faults.collecting import gather, made_up
from tests.faults.stored import dump


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with results and without a store; tests copy it."""
    return made_up(tmp_path_factory.mktemp("results") / "work").root


@pytest.fixture(scope="module")
def collected_undisturbed(
    tmp_path_factory: pytest.TempPathFactory, results: Path
) -> dict[str, list[Any]]:
    """What a store has after collecting without a fault: the folder's own, and another, which says whose runs they are."""
    folder = results.parent
    workdir = copied(results, folder / "collected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_LOG_MODELS", "0")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        gather(workdir)
        gather(Workdir(results), "elsewhere", address_of(folder / "other.db"))
    return {
        "own": dump(workdir.database, "fig12"),
        "server": dump(folder / "other.db", "elsewhere"),
    }


@pytest.fixture
def mlflow_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No models, which take seconds; a client that gives up soon."""
    monkeypatch.setenv("HARNESS_LOG_MODELS", "0")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name, value in (("BACKOFF_FACTOR", "0"), ("BACKOFF_JITTER", "0"), ("MAX_RETRIES", "2")):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    monkeypatch.setenv("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")


@pytest.fixture(scope="module")
def empty() -> bytes:
    """A database without an experiment of ours."""
    return whole_database._empty("file:///nowhere")


@pytest.fixture
def made_before(empty: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one takes most of the time that collecting a few results does."""
    monkeypatch.setattr(whole_database, "_empty", lambda artifacts: empty)


@pytest.fixture
def workdir(results: Path, tmp_path: Path) -> Workdir:
    return copied(results, tmp_path / "work")


@pytest.fixture
def collected(
    results: Path, collected_undisturbed: dict[str, list[Any]], tmp_path: Path
) -> Workdir:
    """A folder whose results are in its store."""
    shutil.copytree(results.parent / "collected", tmp_path / "work")
    return Workdir(tmp_path / "work")


def copied(results: Path, place: Path) -> Workdir:
    shutil.copytree(results, place)
    (place / ".id").unlink(missing_ok=True)
    return Workdir(place)
