"""Cells trained together as one stacked model against the same cells trained one after the other, whole training steps."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from harness import loop, together
from harness.together import Member
from models.classifier import LSTMClassifier
from models.encoder import LSTMEncoder
from slurm.ddp import Ranks
from tasks.data.digits import Digits
from tasks.encoders import LSTM
from tasks.fewshot import Blocks, FewShot
from tasks.schedule import Schedule
from tasks.subset import Subset
from tasks.task import Needed, Shard
from tests.benchmarks.ratios import Ratio, compare

CELLS = 10
"""The paper's resamples."""
ON_CPU = "at most 1 where it is chosen"
"""The goal on a CPU, where one cell is trained at a time unless somebody asks (`harness.plan.TOGETHER_ON_CPU`)."""
ON_GPU = "at most 0.5"
PERCEPT = 4096
"""Numbers of a percept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnPercepts(FewShot):
    """A classifier on frames of the percepts' size. They are all zero: no time is spent on data, and speed does not depend on it."""

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        torch.manual_seed(seed)
        return LSTMClassifier(LSTMEncoder(PERCEPT, self.encoder.units, self.encoder.layers), 101)

    def batch(self, seed: int, step: int, shard: Shard) -> Blocks:
        drawn = FewShot.batch(self, seed, step, shard)
        size = self.schedule.batch_size
        return drawn._replace(frames_TBD=torch.zeros(self.block, size, PERCEPT))

    def together(self) -> str:
        return "on percepts"


def cells(kind: type[FewShot], *, units: int, batch: int, steps: int) -> list[FewShot]:
    """Ten resamples."""
    return [
        kind(
            subset=Subset(dataset=Digits(), split=1, shots=4, resample=resample),
            encoder=LSTM(units=units, layers=2),
            dropout=0.2,
            schedule=Schedule(
                steps=steps,
                batch_size=batch,
                learning_rate=3e-3,
                weight_decay=1e-3,
                clip_norm=20.0,
            ),
        )
        for resample in range(CELLS)
    ]


def of_these(what: str, tasks: list[FewShot], device: torch.device, goal: str) -> Ratio:
    """Both ways of training the same cells; models are built in both."""
    ranks = Ranks(rank=0, num_ranks=1, device=device)

    def side_by_side() -> None:
        with tempfile.TemporaryDirectory() as folder:
            members = [
                Member(key=str(seed), task=task, seed=seed, model=task.build(seed, ()), folder=Path(folder))
                for seed, task in enumerate(tasks)
            ]  # fmt: skip
            together.train(
                members, device=device, should_stop=lambda: False, on_step=lambda step, steps: None
            )

    def one_by_one() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for seed, task in enumerate(tasks):
                loop.train(
                    task, task.build(seed, ()).to(device), cell=str(seed), seed=seed, ranks=ranks, folder=Path(folder),
                    earlier=[], should_stop=lambda: False, on_step=lambda step, steps: None,
                )  # fmt: skip

    return compare(what, side_by_side, "one after the other", one_by_one, goal)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """So many threads for torch's operations."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ratios() -> list[Ratio]:
    """Demo size on the CPU, with one thread and with two; paper size where there is a GPU."""
    found = []
    demo = cells(FewShot, units=128, batch=16, steps=20)
    for number in (1, 2):
        if number <= len(os.sched_getaffinity(0)):
            with threads(number):
                what = f"{CELLS} demo-sized classifiers trained together, CPU threads: {number}"
                found.append(of_these(what, demo, torch.device("cpu"), ON_CPU))
    if torch.cuda.is_available():
        paper = cells(OnPercepts, units=2048, batch=128, steps=10)
        what = f"{CELLS} classifiers of 2 x 2048 on {PERCEPT} numbers trained together, {torch.cuda.get_device_name()}"
        found.append(of_these(what, paper, torch.device("cuda"), ON_GPU))
    return found
