"""Pretraining on two ranks with one core each against one rank with one core: in the same two processes, in turn.

Seconds are of `harness.loop.train`, whole: batches, forward, backward, sums over ranks, optimiser. While one rank trains alone
the other one waits, without using its core.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from configs.cells import pretraining
from configs.scales import scaled
from slurm.meeting import torchrun_environment
from tasks.data.digits import Digits
from tasks.encoders import LSTM
from tasks.pretrain import Pretrain
from tests.benchmarks.ratios import ROUNDS, Ratio
from tests.ports import free_port

SIZES = {
    "Fig. 12's demo": (128, 32, 20),
    "larger": (512, 256, 16),
    "paper": (2048, 128, 3),
}
"""Units of each of two layers, sequences of a step over all ranks, steps of a round; frames of the built-in digits.

Setting DDP up is part of a round, as it is of a training of thousands of steps: a round has to be long enough for it not to count.

A step of few sequences is not twice as fast with half of them: products of 16 rows reach less of a core's rate than those of
32, and clipping, the optimiser and the sum of gradients cost what they cost.
"""


def task_of(size: str) -> Pretrain:
    """The Composite model of a size."""
    units, batch, steps = SIZES[size]
    cell = pretraining(
        Digits(),
        LSTM(units=units, layers=2),
        scaled("demo", pretrain_batch=batch),
        future_frames=13,
    )
    assert isinstance(cell.task, Pretrain)
    return replace(cell.task, schedule=replace(cell.task.schedule, steps=steps, warmup_steps=0))


def ratios(sizes: tuple[str, ...] = ("Fig. 12's demo", "larger")) -> list[Ratio]:
    """Time on two ranks over the time on one, of every size: a half is all that can be had.

    Where this process may use one core alone there is nothing to time: no ratio, and a sentence on stderr says so.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.stderr.write(
            "two ranks were not timed: they need two cores, and this process may use one\n"
        )
        return []
    found = []
    for size in sizes:
        units, batch, steps = SIZES[size]
        what = f"pretraining, 2 ranks of one core: Composite 2 x {units}, batch {batch}, {steps} steps ({size})"
        both, alone = zip(*measured(size, (cores[0], cores[1])), strict=True)
        goal = "at most 0.556" if size == "larger" else ""
        found.append(Ratio.of(what, [*both], "1 rank of one core", [*alone], goal))
    return found


def measured(size: str, cores: tuple[int, int]) -> list[tuple[float, float]]:
    """Seconds of a round on two ranks and on one."""
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.ranks", size, str(core)],
            env={
                **os.environ,
                **torchrun_environment(rank, 2, port),
                "OMP_NUM_THREADS": "1",
                "MKL_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
                "CUDA_VISIBLE_DEVICES": "",
                "TORCH_CPP_LOG_LEVEL": "ERROR",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, core in enumerate(cores)
    ]
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"a rank ended with {[each.returncode for each in processes]}")
    return [(float(both), float(alone)) for both, alone in json.loads(said[0])]


def main(size: str, core: int) -> None:
    """Be one of the two ranks; the first prints its rounds."""
    os.sched_setaffinity(0, {core})
    from harness import loop
    from harness.work import prepare_process
    from slurm.ddp import Ranks, joined

    prepare_process()
    task = task_of(size)
    loop.LOGGED_POINTS = 1  # a point of the curve every 20 steps, as in the demo, and not at every one of a short round

    def seconds(ranks: Ranks) -> float:
        model = task.build(0, ())
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            loop.train(
                task, model, cell="bench", seed=0, ranks=ranks, folder=Path(folder), earlier=[],
                should_stop=lambda: False, on_step=lambda step, steps: None,
            )  # fmt: skip
            return time.perf_counter() - began

    rounds = []
    with joined() as ranks:
        alone = Ranks(rank=0, num_ranks=1, device=ranks.device)
        for _ in range(ROUNDS + 1):
            ranks.gather(None)
            on_both = seconds(ranks)
            on_one = seconds(alone) if ranks.is_first else 0.0
            rounds.append((on_both, on_one))
        ranks.gather(None)
    if ranks.is_first:
        sys.stdout.write(json.dumps(rounds[1:]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
