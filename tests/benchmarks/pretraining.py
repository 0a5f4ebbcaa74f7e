"""`python -m tests.benchmarks.pretraining`: what training the models of Table 2 reaches of the machine. A Markdown table.

For each of the four models, in one run: sequences a second of whole training steps (generator, forward, backward, optimiser),
the floating-point operations that the matrix products of these need (twice a weight, times three with the backward pass), and
that as a share of the rate of one large matrix product in the same numbers; and the share of a step that the generator
takes. Weights are random: speed does not depend on them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from configs.unsupervised import MODELS, digits_model, sized
from harness.loop import build_optimizer
from tasks.data.moving_digits import moving_digits
from tasks.data.moving_mnist import Rules
from tasks.pretrain import Pretrain
from tasks.task import Shard

ROUNDS = 5


def main() -> None:
    """Measure, and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--scale", choices=("demo", "paper"), default="paper")
    options.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    options.add_argument("--batch", type=int, default=128)
    options.add_argument("--steps", type=int, default=20, help="of a round")
    options.add_argument("--glyphs", default="digits", help="speed does not depend on them")
    options.add_argument("--canvas", type=int, default=64)
    chosen = options.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = moving_digits(chosen.glyphs)
    data = replace(data, rules=Rules(canvas=chosen.canvas))
    sizes = sized(chosen.scale, batch=chosen.batch)
    rate = matrix_rate(device, getattr(torch, chosen.precision))
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"  # fmt: skip
    print(  # noqa: T201
        f"{name}, torch {torch.__version__}, {chosen.precision}, batches of {chosen.batch}, 2 layers of {sizes.units}, frames of "
        f"{chosen.canvas} x {chosen.canvas}; one large matrix product: {rate / 1e12:.2f} TFLOP/s\n"
    )
    head = ("model", "sequences/s", "TFLOP/s", "share of the product's rate (min - max)", "generator's share")  # fmt: skip
    print(f"| {' | '.join(head)} |\n| --- | ---: | ---: | ---: | ---: |")  # noqa: T201
    for model in MODELS:
        task = digits_model(data, model, sizes).task
        assert isinstance(task, Pretrain)
        print(_line(model, replace(task, precision=chosen.precision), device, rate, chosen.steps))  # noqa: T201


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """What whole training steps reach of a machine."""

    sequences_s: float
    flop_s: float
    """Of the matrix products that the model needs."""
    shares: tuple[float, ...]
    """flop_s over the rate of one large product, a round each."""
    generator: float
    """The data's share of the time."""


def _line(name: str, task: Pretrain, device: torch.device, rate: float, steps: int) -> str:
    found = reached(task, device, rate, steps)
    return (
        f"| {name} | {found.sequences_s:,.0f} | {found.flop_s / 1e12:.2f} | {statistics.median(found.shares):.3f} "
        f"({min(found.shares):.3f} - {max(found.shares):.3f}) | {found.generator:.3f} |"
    )


def reached(task: Pretrain, device: torch.device, rate: float, steps: int) -> Reached:
    """Train for some rounds of `steps` steps; `rate` in operations a second."""
    model = task.build(0, ()).to(device)
    optimizer = build_optimizer(task.schedule, model)
    shard = Shard(device=str(device))
    batch_size = task.schedule.batch_size
    # A plan's estimate of one training step, without the evaluation that it counts, too.
    one = replace(task, schedule=replace(task.schedule, steps=1, warmup_steps=0), test_sequences=1)
    flop = 1e9 * one.gflop() * 3 * batch_size / (3 * batch_size + 1)

    def train() -> None:
        for step in range(steps):
            optimizer.zero_grad(set_to_none=True)
            task.loss(model, task.batch(0, step, shard)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 200.0)
            optimizer.step()

    def generate() -> None:
        for step in range(steps):
            task.batch(0, step, shard)

    train()
    whole, drawn = zip(
        *((_seconds(train, device), _seconds(generate, device)) for _ in range(ROUNDS)), strict=True
    )
    shares = [flop * steps / seconds / rate for seconds in whole]
    seconds = statistics.median(whole)
    return Reached(
        sequences_s=batch_size * steps / seconds,
        flop_s=flop * steps / seconds,
        shares=tuple(shares),
        generator=statistics.median(drawn) / seconds,
    )


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large square matrix product."""
    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def products() -> None:
        for _ in range(10):
            left @ right

    products()
    return 10 * 2 * side**3 / statistics.median(_seconds(products, device) for _ in range(ROUNDS))


def _seconds(what: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    what()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
