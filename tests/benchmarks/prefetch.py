"""Training steps whose batches are drawn ahead, against the same steps without batches: what is waited for.

A wait of fixed length stands in for a GPU, on which the computing thread waits likewise, with Python's lock free. Batches are
real: windows from a store in the page cache, as a pretraining step asks for them.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from harness.ahead import batches
from tasks.data.features import FeatureStore, StorePlan, write_shard
from tasks.data.on_device import float32_windows
from tests.benchmarks.ratios import Ratio, compare

VIDEOS, FRAMES, D, T, B, STEPS, COMPUTING_S = 60, 60, 4096, 29, 32, 20, 0.03
Pair = tuple[str, Callable[[], object], str, Callable[[], object], str]
"""What it is called, the thing, what its peer is called, the peer, what their ratio should be."""


class _Batch(NamedTuple):
    frames_TBD: torch.Tensor


def ratios(folder: Path) -> list[Ratio]:
    """With batches drawn ahead, and with batches drawn when they are needed."""
    return [compare(*pair) for pair in _pairs(folder)]


def _pairs(folder: Path) -> Iterator[Pair]:
    plan = StorePlan.cut({}, [(f"v{index}", FRAMES) for index in range(VIDEOS)], D)
    draw = np.random.default_rng(0)
    write_shard(
        folder, plan, 0, ((v, draw.standard_normal((FRAMES, D), np.float32)) for v, _ in plan.shards[0])
    )  # fmt: skip
    with FeatureStore.open(folder) as store:

        def batch(step: int) -> _Batch:
            places = np.random.default_rng(step).integers(0, (VIDEOS, FRAMES - T + 1), (B, 2))
            windows = [(f"v{video}", int(start)) for video, start in places]
            return _Batch(float32_windows(store, "cpu", windows, T, np.float32(3.1)))

        def train(in_background: bool) -> Callable[[], None]:
            def run() -> None:
                with batches(
                    batch, range(STEPS), torch.device("cpu"), in_background=in_background
                ) as drawn:
                    for _ in drawn:
                        time.sleep(COMPUTING_S)

            return run

        def compute_alone() -> None:
            for _ in range(STEPS):
                time.sleep(COMPUTING_S)

        what = f"{STEPS} steps of {1000 * COMPUTING_S:.0f} ms on {B} windows of {T} x {D}, batches drawn"
        yield f"{what} ahead", train(True), "the steps without batches", compute_alone, ""
        yield f"{what} when needed", train(False), "the steps without batches", compute_alone, ""
