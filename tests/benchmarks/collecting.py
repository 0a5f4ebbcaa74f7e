"""Results into a new SQLite store of MLflow, from the result files on: seconds a result. Not a test.

A result has 20 scores, what else a run of Fig. 12 states (7 numbers of usage, 50 points of history, 40 params, 20 tags, two
datasets) and a file of predictions of 60 kB. Its peer writes the 20 scores alone, as short as MLflow's client can.
"""

import random
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest import mock

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from configs.fig12 import fig12
from harness import result
from harness.result import Result
from harness.store import Store
from harness.workdir import Workdir
from tasks.cell import Cell
from tests.benchmarks import many_runs
from tests.benchmarks.ratios import Ratio

ROUNDS = 3
SCORES = 20
GOAL_S = 0.006
"""What a result may take when it is collected for the first time."""
BY_CLIENT = 100
"""Results that the peer writes: each takes it as long as the first."""


def ratios(folder: Path, count: int) -> list[Ratio]:
    """Collecting some results for the first time, and again when nothing changed; each against MLflow's client."""
    workdir, cells = _filled(folder / "work", count)
    empty = folder / "empty.db"
    MlflowClient(f"sqlite:///{empty}").search_experiments()
    seconds: dict[str, list[float]] = {"first": [], "again": [], "client": []}
    for number in range(ROUNDS):
        place = folder / f"store{number}"
        place.mkdir()
        shutil.copy(empty, place / "mlflow.db")
        address = f"sqlite:///{place}/mlflow.db"
        for name in ("first", "again"):
            began = time.perf_counter()
            store = Store(workdir, "fig12", address)
            store.put(_read(workdir, cells), store.open_parent("Collected"))
            seconds[name].append((time.perf_counter() - began) / count)
        began = time.perf_counter()
        _by_client(address, min(count, BY_CLIENT))
        seconds["client"].append((time.perf_counter() - began) / min(count, BY_CLIENT))
        shutil.rmtree(place)
    peer = f"MLflow's client: a run with {SCORES} metrics, nothing else (create_run, log_batch, set_terminated)"
    return [
        Ratio.of(
            f"{count:,} results read and collected, one of them: should take {GOAL_S} seconds at most ({ROUNDS} rounds)",
            seconds["first"], peer, seconds["client"],
        ),
        Ratio.of(
            f"{count:,} results read and collected again, one of them ({ROUNDS} rounds)",
            seconds["again"], peer, seconds["client"],
        ),
    ]  # fmt: skip


def _filled(folder: Path, count: int) -> tuple[Workdir, list[Cell]]:
    """A work folder with so many accepted results."""
    draws = random.Random(0)
    workdir = Workdir(folder)
    workdir.prepare()
    made = fig12(shots=(1, 2, 4), methods=("single_frame", "lstm"), resamples=-(-count // 6))
    cells = list(made.all_cells()[:count])
    with mock.patch("os.fsync", return_value=None):  # nothing here has to outlast a power cut
        for number, cell in enumerate(cells):
            attempt = result.new_attempt(workdir, cell)
            body = many_runs.body_of(cell, draws, number=number)
            body["scores"] = [
                {"metric": f"score_{place}", "unit": "%", "higher_is_better": True, "value": draws.random(), "count": 300}
                for place in range(SCORES)
            ]  # fmt: skip
            result.seal(attempt, body, {"predictions.parquet": many_runs.PREDICTED[0][0]})
            result.accept(attempt)
    return workdir, cells


def _read(workdir: Workdir, cells: Iterable[Cell]) -> Iterator[tuple[Cell, Result]]:
    for cell in cells:
        found = result.read(workdir, cell)
        assert found is not None
        yield cell, found


def _by_client(address: str, count: int) -> None:
    client = MlflowClient(address)
    experiment = client.create_experiment("by client")
    for number in range(count):
        run = client.create_run(experiment).info.run_id
        metrics = [Metric(f"score_{place}", number + place, 1, 0) for place in range(SCORES)]
        client.log_batch(run, metrics=metrics)
        client.set_terminated(run)
