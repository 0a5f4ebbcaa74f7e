"""What the harness costs a cell: of cells that compute nothing, of a cell of Fig. 12's demo, and of a driver of many.

Compute is what no harness saves: to build the model, to train it in the barest loop, to predict and to score. All else that a
worker does for a cell counts as overhead: its folder, log, provenance, checks, sealing, files and their way to the disk.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from configs.fig12 import fig12
from harness import loop, plan
from harness.announcer import Announcer
from harness.display import Display
from harness.launch import jobs_of
from harness.order import Order
from harness.work import Worker
from harness.workdir import Workdir
from slurm.ddp import Ranks
from slurm.job import Event
from slurm.local import Local
from tasks.cell import Cell
from tasks.schedule import Schedule
from tasks.task import Metric, Needed, Predictions, Score, Shard, Task, Value
from tests.benchmarks.ratios import ROUNDS, Ratio

ALONE = Ranks(rank=0, num_ranks=1, device=torch.device("cpu"))
BUDGET_S = 0.020
"""What a small cell may cost beside its compute."""
TRIVIAL = 200
"""Cells of a round that compute nothing."""
DRIVEN = 10_000
"""Jobs of the driver."""


SCHEDULE = Schedule(steps=1, batch_size=1, learning_rate=1e-3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trivial:
    """A task with next to nothing to compute."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(name="nothing", unit="", higher_is_better=True, meaning="nothing"),
    )
    parallel: ClassVar[bool] = False

    number: int
    schedule: Schedule = SCHEDULE

    def check(self, needs: tuple[Cell, ...]) -> None: ...

    def values(self) -> dict[str, Value]:
        return {"number": self.number}

    def gflop(self) -> float:
        return 1e-9

    def files(self) -> Mapping[str, bytes]:
        return {}

    def lost(self) -> str:
        return ""

    def build(self, seed: int, needed: tuple[Needed, ...]) -> nn.Module:
        return nn.Linear(2, 2)

    def batch(self, seed: int, step: int, shard: Shard) -> Any:
        return torch.ones(1, 2)

    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        loss: torch.Tensor = model(batch).sum()
        return loss

    def num_chunks(self) -> int:
        return 1

    def predict(self, model: nn.Module, chunk: int) -> Predictions:
        return {"id": np.arange(600), "p": np.zeros(600)}

    def score(self, predictions: Predictions) -> Iterator[Score]:
        yield Score(metric=self.metrics[0], value=0.0, count=600)

    def products(self, model: nn.Module) -> Mapping[str, Mapping[str, torch.Tensor]]:
        return {}


def ratios(folder: Path) -> list[Ratio]:
    """Overheads against what they may be, and whole cells against their compute alone.

    Args:
        folder: an empty folder on the disk that is measured.
    """
    return [_of_trivial_cells(folder / "trivial"), _of_a_demo_cell(folder / "demo"), driver(folder)]


def _of_trivial_cells(folder: Path) -> Ratio:
    cost_s = []
    for number in range(ROUNDS + 1):
        cells = [
            Cell(task=Trivial(number=each), seed=number)  # another seed is another cell
            for each in range(TRIVIAL)
        ]
        own, bare = _in_a_worker(cells, folder), _bare(cells)
        cost_s.append((own - bare) / TRIVIAL)
    what, budget = "a cell that computes nothing, in a worker", [BUDGET_S] * ROUNDS
    return Ratio.of(what, cost_s[1:], "20 ms", budget, "at most 1")


def _of_a_demo_cell(folder: Path) -> Ratio:
    made = fig12(shots=(1,), methods=("lstm",), resamples=1).cells[0]
    pairs = []
    for number in range(ROUNDS + 1):
        task = replace(made.task, schedule=replace(made.task.schedule, steps=50, warmup_steps=5))  # type: ignore[type-var]
        cells = [Cell(task=task, seed=number)]
        pairs.append((_in_a_worker(cells, folder), _bare(cells)))
    what = "a classifier of Fig. 12's demo, a third of its steps, in a worker"
    own, bare = zip(*pairs[1:], strict=True)
    return Ratio.of(what, [*own], "its compute alone", [*bare], "at most 1.05")


def _in_a_worker(cells: list[Cell], folder: Path) -> float:
    """Seconds that a worker takes for some cells."""
    order = Order(workdir=str(folder), source="bench", settings=())
    worker = Worker(order, ALONE, lambda: False, {cell.key: cell for cell in cells})
    began = time.perf_counter()
    for cell in cells:
        worker.carry_out(cell.key, lambda event: None)
    return time.perf_counter() - began


def _bare(cells: list[Cell]) -> float:
    """Seconds of the compute alone."""
    began = time.perf_counter()
    for cell in cells:
        task: Task = cell.task
        model = task.build(cell.seed, ())
        optimizer = loop.build_optimizer(task.schedule, model)
        for step in range(task.schedule.steps):
            optimizer.zero_grad()
            task.loss(model, task.batch(cell.seed, step, Shard())).backward()
            if task.schedule.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), task.schedule.clip_norm)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            chunks = [task.predict(model, chunk) for chunk in range(task.num_chunks())]
        merged = {name: np.concatenate([each[name] for each in chunks]) for name in chunks[0]}
        list(task.score(merged))
    return time.perf_counter() - began


ECHO = """
import sys
from slurm.worker import StopFlag, serve, take_stdout
sys.exit(serve(take_stdout(), StopFlag(), lambda job, on_event: None))
"""


def driver(folder: Path, num_jobs: int = DRIVEN) -> Ratio:
    """10,000 jobs that are nothing through launcher, display and announcer, against as many lines through a pipe.

    They are the jobs that `harness run` makes of cells: with what each needs, what it costs and which may be trained together.
    The memory that the driver gained from the hundredth job to the last stands in the ratio's name.
    """
    cells = fig12(shots=(1, 2, 4, 8, 16, "all"), resamples=556).all_cells()[:num_jobs]
    jobs = jobs_of(cells, ranks=1)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    script = folder / "echo.py"
    script.write_text(ECHO)
    gained: list[float] = []

    def driven() -> float:
        began, done = time.perf_counter(), 0
        at_100 = 0.0
        with Display("bench", cells, 0, 1) as display:

            def on_event(event: Event) -> None:
                nonlocal done, at_100
                display.on_event(event)
                announcer.changed()
                done += event.kind == "done"
                if done == 100 and not at_100:
                    at_100 = _resident_mib()

            announcer = Announcer(Workdir(folder), lambda: (display.running, display.waiting))
            command = [
                "env",
                f"PYTHONPATH={environment['PYTHONPATH']}",
                sys.executable,
                str(script),
            ]
            together = plan.most_together(None, gpus=False)
            Local(command, slots=1, logs=folder / "logs", together=together).run(jobs, on_event)
            announcer.close()
        gained.append(_resident_mib() - at_100)
        return time.perf_counter() - began

    def piped() -> float:
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for job in jobs:
                process.stdin.write(f"{job.id}\n".encode())
                process.stdin.flush()
                process.stdout.readline()
            process.stdin.close()
        return time.perf_counter() - began

    own, bare = zip(*((driven(), piped()) for _ in range(3)), strict=True)
    what = f"{len(jobs):,} jobs that are nothing, through the driver ({max(gained):.1f} MiB more at the end than after 100)"
    return Ratio.of(what, [*own], "as many lines through a pipe", [*bare])


def _resident_mib() -> float:
    """Memory of this process now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Measure in a new folder, and print."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        for each in islice(ratios(Path(name)), None):
            sys.stdout.write(f"{each}\n")


if __name__ == "__main__":
    main()
