"""`make bench`: speed as ratios, each against its peer in the same run, medians of several rounds with their spread.

Prints a Markdown table; `--out FOLDER` keeps it as bench.md, and the figures as bench.json, after every group. Nothing here is a
test: numbers depend on the machine.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from harness import loop, provenance
from slurm.ddp import Ranks
from tasks.data.digits import Digits
from tasks.data.moving_mnist import Rules, draw, plan
from tasks.encoders import LSTM
from tasks.fewshot import FewShot
from tasks.schedule import Schedule
from tasks.subset import Subset
from tasks.task import Shard
from tests.benchmarks import (
    collecting,
    evaluation,
    lstm,
    many_runs,
    overhead,
    prefetch,
    ranks,
    together,
    windows,
)
from tests.benchmarks import decoding as decoders
from tests.benchmarks.generator import CANVAS, SIDE, obvious
from tests.benchmarks.ratios import ROUNDS, Ratio, compare

GROUPS = (
    "features",
    "evaluation",
    "prefetch",
    "decoding",
    "generator",
    "lstm",
    "loop",
    "together",
    "overhead",
    "ddp",
    "commands",
    "report",
    "collecting",
)


def training_loop() -> Ratio:
    """The harness's loop against the barest loop over the same batches."""
    task = FewShot(
        subset=Subset(dataset=Digits(), split=1, shots=4, resample=0),
        encoder=LSTM(units=128, layers=2),
        dropout=0.2,
        schedule=Schedule(steps=40, batch_size=16, learning_rate=3e-3, clip_norm=20.0),
    )
    alone = Ranks(rank=0, num_ranks=1, device=torch.device("cpu"))

    def with_harness() -> None:
        with tempfile.TemporaryDirectory() as folder:
            loop.train(
                task, task.build(0, ()), cell="bench", seed=0, ranks=alone, folder=Path(folder), earlier=[],
                should_stop=lambda: False, on_step=lambda step, steps: None,
            )  # fmt: skip

    def bare() -> None:
        model = task.build(0, ())
        optimizer = loop.build_optimizer(task.schedule, model)
        for step in range(task.schedule.steps):
            optimizer.zero_grad()
            task.loss(model, task.batch(0, step, Shard())).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 20.0)
            optimizer.step()

    return compare(
        "training loop of a demo-sized classifier, 40 steps",
        with_harness,
        "the barest loop",
        bare,
        "at most 1.05",
    )


def decoding(folder: Path) -> list[Ratio]:
    """Frames of a clip as RGB of 240 x 320 against PyAV alone; equal frames are made sure of first."""
    found = []
    for path in decoders.clips(folder):
        frames = decoders.check_same(path)
        what = f"all {frames} frames of {path.name}, resized to 240 x 320, ten times"
        for peer, loop_of in (
            ("PyAV: decode, reformat, to_ndarray", decoders.plain),
            ("the same with one scaler", decoders.plain_with_one_scaler),
        ):
            found.append(compare(what, through(decoders.own, path), peer, through(loop_of, path)))
    return found


def generator() -> Ratio:
    """Moving MNIST against a loop over sequences, digits and frames."""
    random = np.random.default_rng(0)
    glyphs_GSS = random.integers(0, 256, (1000, SIDE, SIDE), dtype=np.uint8)
    on_device, batch, frames = torch.from_numpy(glyphs_GSS), 128, 20

    def ours() -> torch.Tensor:
        planned = plan(Rules(canvas=CANVAS), num_glyphs=1000, side=SIDE, seed=0, indices=range(batch), num_frames=frames)  # fmt: skip
        return draw(Rules(canvas=CANVAS), on_device, planned)

    what = f"{batch} sequences of {frames} frames of {CANVAS} x {CANVAS}, two digits"
    return compare(
        what,
        ours,
        "a NumPy loop over sequences, digits, frames",
        lambda: obvious(glyphs_GSS, random, batch, frames),
    )


def through(
    decode: Callable[[Path], Iterator[np.ndarray]], path: Path, times: int = 10
) -> Callable[[], None]:
    """Decode a whole clip several times, holding one frame at a time."""

    def run() -> None:
        for _ in range(times):
            for _frame_YXC in decode(path):
                pass

    return run


def command(words: list[str], peer: list[str]) -> Ratio:
    """A command line against the start of the interpreter with click."""

    def run(each: list[str]) -> Callable[[], object]:
        return lambda: subprocess.run(each, capture_output=True, check=True)

    return compare(
        " ".join(["harness", *words]),
        run([sys.executable, "-m", "harness", *words]),
        " ".join(["python", *peer]),
        run([sys.executable, *peer]),
    )


def commands() -> list[Ratio]:
    """Every command that a user waits for."""
    return [
        command(["--help"], ["-c", "import click"]),
        command(["list"], ["-c", "import click"]),
        command(["run", "fig12", "--dry-run"], ["-c", "import click"]),
        command(
            ["run", "fig12", "--set", "resamples=556", "--cluster", "slurm", "--dry-run"],
            ["-m", "harness", "run", "fig12", "--dry-run"],
        ),
    ]


def report(folder: Path) -> Ratio:
    """Every table and number of a report of 10,000 runs, whole command, against reading their results alone."""
    runs = many_runs.fill(folder)
    words = ["report", "fig12", "--workdir", str(folder), "--format", "md,tex,csv,html,json"]
    return compare(
        f"harness report, {runs:,} runs, all tables",
        lambda: subprocess.run(
            [sys.executable, "-m", "harness", *words], capture_output=True, check=True
        ),
        "reading their results as JSON",
        lambda: many_runs.read_only(folder),
    )


HEAD = """| what | against | ratio (median) | min - max | goal | seconds |
| --- | --- | ---: | ---: | ---: | ---: |
"""


def row(each: Ratio) -> str:
    """One line of the table."""
    return (
        f"| {each.what} | {each.peer} | {each.median:.2f} | {each.low:.2f} - {each.high:.2f} | {each.goal} "
        f"| {each.seconds:.3g} |\n"
    )


def about() -> dict[str, object]:
    """On what, with what and from which code the figures are."""
    return {
        "machine": provenance.machine()["processor"],
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": provenance.code()["commit"],
        "altered": provenance.code()["dirty"],
        "load_before": os.getloadavg(),
        "rounds": ROUNDS,
        "threads": "one, where nothing else is said",
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder that keeps bench.md and bench.json")
    parser.add_argument(
        "--only", nargs="*", choices=GROUPS, help="measure these groups, not all of them"
    )
    parser.add_argument(
        "--results", type=int, default=1000, metavar="N", help="of the group collecting"
    )
    chosen = parser.parse_args()
    told = about()
    torch.set_num_threads(1)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    text = "\n".join(f"- {name}: {value}" for name, value in told.items()) + "\n\n" + HEAD
    sys.stdout.write(text)
    found: dict[str, list[Ratio]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        groups: dict[str, Callable[[], list[Ratio]]] = {
            "features": lambda: windows.ratios(folder / "windows"),
            "evaluation": evaluation.ratios,
            "prefetch": lambda: prefetch.ratios(folder / "prefetch"),
            "decoding": lambda: decoding(folder),
            "generator": lambda: [generator()],
            "lstm": lambda: lstm.ratios(os.cpu_count() or 1) + lstm.ratios(1),
            "loop": lambda: [training_loop()],
            "together": together.ratios,
            "overhead": lambda: overhead.ratios(folder),
            "ddp": ranks.ratios,
            "commands": commands,
            "report": lambda: [report(folder / "many")],
            "collecting": lambda: collecting.ratios(folder, chosen.results),
        }
        for group in chosen.only or GROUPS:
            found[group] = groups[group]()
            rows = "".join(map(row, found[group]))
            sys.stdout.write(rows)
            sys.stdout.flush()
            text += rows
            if chosen.out:
                chosen.out.mkdir(parents=True, exist_ok=True)
                figures = {
                    name: [asdict(each) for each in ratios] for name, ratios in found.items()
                }
                content = json.dumps({**told, "groups": figures}, indent=1)
                (chosen.out / "bench.json").write_text(content + "\n", encoding="utf-8")
                (chosen.out / "bench.md").write_text(text, encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
