"""`python -m tests.benchmarks.extraction`: does the convnet wait for the decoders? A Markdown table of ratios.

One run measures the convnet alone, on frames in memory; decoding alone; and the extraction, all from the same clips of
240 x 320 pixels, which are made for it. The share is the extraction's rate over that of the convnet alone: 1 if it
never waits. Weights are random: speed does not depend on them.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from models import convnets
from models.percepts import Convnet
from tasks.across import across
from tasks.convnets import ConvnetSpec, convnet
from tasks.data.decode_ahead import decoded
from tasks.percepts import CPU_BATCH, GPU_BATCH
from tests.tasks.clips import write_clip

SIZE = (240, 320)
CLASSES = {"vgg16": convnets.VGG16, "squeezenet": convnets.SqueezeNet}


def main() -> None:
    """Measure, and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--convnet", choices=CLASSES, default="vgg16")
    options.add_argument(
        "--precision", choices=("float32", "float16", "bfloat16"), default="float16"
    )
    options.add_argument("--clips", type=int, default=96)
    options.add_argument("--frames", type=int, default=186, help="of a clip; UCF-101's mean is 186")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument(
        "--decoders", type=int, nargs="+", default=[1, len(os.sched_getaffinity(0)) - 1]
    )
    chosen = options.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        save_file(CLASSES[chosen.convnet]().state_dict(), weights)
        spec = convnet(chosen.convnet, weights=weights)
        module = spec.build().to(device)
        one = write_clip(Path(folder) / "clip.avi", chosen.frames, height=SIZE[0], width=SIZE[1])
        paths = [one] * chosen.clips
        _table(spec, module, paths, chosen)


def _table(
    spec: ConvnetSpec, module: Convnet, paths: list[Path], chosen: argparse.Namespace
) -> None:
    device = next(module.parameters()).device
    batch = GPU_BATCH if device.type == "cuda" else CPU_BATCH
    total = len(paths) * chosen.frames

    def run(frames_BYX3: np.ndarray) -> torch.Tensor:
        return spec.launch(module, frames_BYX3, chosen.precision)

    (clip_TYX3,) = [np.concatenate(list(video)) for video in decoded(paths[:1], SIZE)]

    def alone() -> None:
        for _ in across(([clip_TYX3] for _ in paths), batch, run):
            pass

    alone()  # once for cuDNN's choices and the first allocations
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"  # fmt: skip
    print(f"{spec.title}, {chosen.precision}, batches of {batch}, {total} frames, {name}\n")  # noqa: T201
    print("| decoders | convnet alone | decoding alone | extraction | share (min - max) |\n| ---: | ---: | ---: | ---: | ---: |")  # noqa: T201 # fmt: skip
    for processes in dict.fromkeys(chosen.decoders):

        def decoding(processes: int = processes) -> None:
            for video in decoded(paths, SIZE, processes=processes):
                for _ in video:
                    pass

        def extraction(processes: int = processes) -> None:
            for _ in across(decoded(paths, SIZE, processes=processes), batch, run):
                pass

        rates = [
            [total / _seconds(what) for what in (alone, decoding, extraction)]
            for _ in range(chosen.rounds)
        ]
        shares = [made / bare for bare, _, made in rates]
        medians = [f"{statistics.median(column):,.0f}" for column in zip(*rates, strict=True)]
        print(  # noqa: T201
            f"| {processes} | {' | '.join(medians)} | {statistics.median(shares):.2f} ({min(shares):.2f} - {max(shares):.2f}) |"
        )
    print("\nRates are frames a second, medians.")  # noqa: T201


def _seconds(what: Callable[[], None]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
