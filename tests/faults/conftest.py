"""One process that has imported everything, and what an undisturbed run of the quick experiment leaves."""

from collections.abc import Iterator

import pytest

from tests.faults.forked import Forked, Left, forked
from tests.faults.of_mlflow import (
    collected,
    collected_undisturbed,
    empty,
    made_before,
    mlflow_settings,
    results,
    workdir,
)

__all__ = [
    "collected",
    "collected_undisturbed",
    "empty",
    "made_before",
    "mlflow_settings",
    "results",
    "workdir",
]


@pytest.fixture(scope="session")
def quickly() -> Iterator[Forked]:
    """Carries out commands of `harness` without importing anything anew."""
    with forked() as made:
        yield made


@pytest.fixture(scope="session")
def undisturbed(quickly: Forked, tmp_path_factory: pytest.TempPathFactory) -> Left:
    """What a run without faults left. Tests read it and change nothing."""
    work = tmp_path_factory.mktemp("undisturbed") / "work"
    quickly.run(work)
    return Left(work)
