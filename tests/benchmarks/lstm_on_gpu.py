"""`python -m tests.benchmarks.lstm_on_gpu --out FOLDER`: the peephole LSTM on a GPU against cuDNN's and against bare products.

At the paper's size (16 steps, 4096 inputs, 2048 units, bfloat16 products), one and two layers, batches of 64 to 1024,
forward and backward with all gradients of parameters, in turn in every round:

- ours: `StackedLSTM` under autocast as training runs it, weights of float32 turned every time; and the same without CUDA
  graphs, and the plain loop
- cuDNN: `torch.nn.LSTM`, which has no peepholes, with weights of bfloat16; and under autocast, as ours
- floor: the matrix products that ours needs and nothing else, in the same shapes

and whole training steps of a Composite of 2 x 2048 units. First it makes sure that values and gradients are right, that
graphs give the bits that single launches give, and that two runs give the same. Writes `lstm_on_gpu.md` and
`lstm_on_gpu.json`. `--rehearse` does all of it in tiny, on any machine (without a GPU: by Triton's interpreter, which
TRITON_INTERPRET=1 asks for); its figures mean nothing.

Letters: T steps, B sequences, N = T B, D inputs, H units, G = 4H.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from configs.unsupervised import COMPOSITE, digits_model, sized
from models import fused_lstm, triton_lstm
from models.lstm import StackedLSTM
from tasks.data.moving_digits import moving_digits
from tasks.data.moving_mnist import Rules
from tasks.pretrain import Pretrain
from tests.benchmarks.lstm_checks import check
from tests.benchmarks.pretraining import matrix_rate, reached

Pass = Callable[[], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """One setting."""

    steps: int
    batch: int
    inputs: int
    units: int
    layers: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One arm at one setting."""

    size: Size
    arm: str
    ms: tuple[float, ...]
    """Of a forward and backward pass, a round each."""
    mib: float
    """Peak of memory above what was there before the pass."""


UNTIMED = 4
"""Rounds before the first that counts: until memory is laid out as it stays, and graphs are recorded."""

PAPER = [
    Size(steps=16, batch=batch, inputs=4096, units=2048, layers=layers)
    for layers in (1, 2)
    for batch in (64, 128, 256, 512, 1024)
]
TINY = [Size(steps=2, batch=2, inputs=6, units=4, layers=layers) for layers in (1, 2)]


def arms(size: Size, device: torch.device) -> dict[str, Pass]:
    """Give a pass of each arm; gradients of parameters stay in `.grad`, and are overwritten."""
    ours = StackedLSTM(size.inputs, size.units, size.layers).to(device)
    theirs = torch.nn.LSTM(size.inputs, size.units, size.layers).to(device)
    low = torch.nn.LSTM(size.inputs, size.units, size.layers).to(device, torch.bfloat16)
    frames_TBD = torch.randn(size.steps, size.batch, size.inputs, device=device)
    low_TBD = frames_TBD.bfloat16()
    gradient_TBH = torch.randn(size.steps, size.batch, size.units, device=device)
    low_gradient_TBH = gradient_TBH.bfloat16()

    def train(layers: torch.nn.Module, x_TBD: Tensor, d_h_TBH: Tensor, *, autocast: bool) -> None:
        layers.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            h_TBH = layers(x_TBD)[0]
        h_TBH.backward(d_h_TBH.to(h_TBH.dtype))

    def named(name: str) -> None:
        with fused_lstm.use(name):
            train(ours, frames_TBD, gradient_TBH, autocast=True)

    return {
        "ours": lambda: named("triton"),
        "plain loop": lambda: named("plain"),
        "cuDNN": lambda: train(low, low_TBD, low_gradient_TBH, autocast=False),
        "cuDNN, autocast": lambda: train(theirs, frames_TBD, gradient_TBH, autocast=True),
        "floor": floor(size, device),
    }


def floor(size: Size, device: torch.device) -> Pass:
    """Give the products alone: their outputs, of the right shapes, are thrown away. From a zero state, as the arms are."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).bfloat16()

    T, B, H, N, G = size.steps, size.batch, size.units, size.steps * size.batch, 4 * size.units
    inputs = [size.inputs] + [H] * (size.layers - 1)
    x = [normal(N, D) for D in inputs]
    weight_x, weight_h = [normal(G, D) for D in inputs], normal(G, H)
    h_NH, gates_NG = normal(N, H), normal(N, G)
    gates_TBG, h_TBH = gates_NG.view(T, B, G), h_NH.view(T, B, H)
    d_weight_x = [torch.empty_like(each) for each in weight_x]
    d_weight_h, out_BH = torch.empty_like(weight_h), normal(B, H)
    out_NG, d_x_NH = torch.empty_like(gates_NG), torch.empty_like(h_NH)
    out_TBG = out_NG.view(T, B, G)

    def products() -> None:
        for layer in range(size.layers):
            torch.mm(x[layer], weight_x[layer].t(), out=out_NG)
            for step in range(1, T):
                torch.mm(h_TBH[step - 1], weight_h.t(), out=out_TBG[step])
        for layer in reversed(range(size.layers)):
            for step in range(1, T):
                torch.mm(gates_TBG[step], weight_h, out=out_BH)
            torch.mm(gates_NG[B:].t(), h_NH[B:], out=d_weight_h)
            torch.mm(gates_NG.t(), x[layer], out=d_weight_x[layer])
            if layer:
                torch.mm(gates_NG, weight_x[layer], out=d_x_NH)

    return products


def flop(size: Size) -> float:
    """Operations of the floor's products."""
    N, H, G = size.steps * size.batch, size.units, 4 * size.units
    recurrent = 3 * 2 * (N - size.batch) * H * G
    first = 2 * 2 * N * size.inputs * G
    return recurrent * size.layers + first + (size.layers - 1) * 3 * 2 * N * H * G


def measure(size: Size, device: torch.device, rounds: int) -> list[Measured]:
    """Time all arms in turn, round after round."""
    passes = arms(size, device)
    with triton_lstm.graphs(False):
        mib = {arm: _mib(each, device) for arm, each in passes.items()}
    mib["ours, no graphs"] = mib["ours"]
    ms: dict[str, list[float]] = {arm: [] for arm in mib}
    for wanted, names in ((True, list(passes)), (False, ["ours"])):
        with triton_lstm.graphs(wanted):
            repeats = {arm: _repeats(passes[arm], device) for arm in names}
            for number in range(-UNTIMED, rounds):
                for arm in names:
                    found = _ms(passes[arm], device, repeats[arm])
                    if number >= 0:
                        ms[arm if wanted else "ours, no graphs"].append(found)
    return [Measured(size=size, arm=arm, ms=tuple(ms[arm]), mib=mib[arm]) for arm in ms]


def _mib(run: Pass, device: torch.device) -> float:
    run()
    if device.type != "cuda":
        return 0.0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _repeats(run: Pass, device: torch.device) -> int:
    """So many passes that a round takes some 30 ms."""
    return 1 if device.type != "cuda" else max(1, min(100, round(30 / _ms(run, device, 1))))


def _ms(run: Pass, device: torch.device, repeats: int) -> float:
    """Milliseconds of a pass, by the device's own clock."""
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - began) * 1e3 / repeats
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    for _ in range(repeats):
        run()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / repeats


def composite(
    scale: str, batch: int, device: torch.device, rate: float, steps: int
) -> dict[str, object]:
    """Train the Composite; sizes of the paper, but for the batch."""
    data = replace(moving_digits("digits"), rules=Rules(canvas=64))
    task = digits_model(data, COMPOSITE, sized(scale, batch=batch)).task
    assert isinstance(task, Pretrain)
    found = reached(replace(task, precision="bfloat16"), device, rate, steps)
    return {"batch": batch, **asdict(found)}


def table(found: list[Measured], rate: float) -> list[str]:
    """Give the Markdown lines: times, and what the goals are about, each round's ratio with its median and range."""
    lines = [
        "| layers | B | ours, ms | no graphs | plain loop | cuDNN | cuDNN, autocast | floor | cuDNN / ours | floor / ours | TFLOP/s | of the large product | MiB, ours | MiB, cuDNN autocast |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in dict.fromkeys(each.size for each in found):
        of = {each.arm: each for each in found if each.size == size}
        names = ("ours", "ours, no graphs", "plain loop", "cuDNN", "cuDNN, autocast", "floor")
        ms = [f"{statistics.median(of[name].ms):.3f}" for name in names]
        speed = 1e3 * flop(size) / statistics.median(of["ours"].ms)
        ratios = [_ratio(of[name].ms, of["ours"].ms) for name in ("cuDNN", "floor")]
        memory = [f"{of[name].mib:.0f}" for name in ("ours", "cuDNN, autocast")]
        cells = [size.layers, size.batch, *ms, *ratios, f"{speed / 1e12:.1f}", f"{speed / rate:.3f}", *memory]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _ratio(above: tuple[float, ...], below: tuple[float, ...]) -> str:
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"


def main() -> int:
    """Check, measure, write; 2 where there is nothing to measure on."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, required=True, help="folder to write to")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--rehearse", action="store_true", help="in tiny, on any machine")
    chosen = options.parse_args()
    if not torch.cuda.is_available() and not chosen.rehearse:
        sys.stderr.write("There is no GPU here to measure on: run this where torch.cuda.is_available(), or --rehearse it.\n")  # fmt: skip
        return 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    checks = check(device)
    rate = matrix_rate(device, torch.bfloat16)
    found = [each for size in (TINY if chosen.rehearse else PAPER) for each in measure(size, device, chosen.rounds)]  # fmt: skip
    scale, batches, steps = ("demo", (4,), 1) if chosen.rehearse else ("paper", (128, 512), 20)
    models = [composite(scale, batch, device, rate, steps) for batch in batches]
    about = {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "triton": version("triton"),
        "large_product_tflop_s": rate / 1e12,
        "rounds": chosen.rounds,
        "rehearsal": chosen.rehearse,
    }
    lines = [
        f"{', '.join(f'{key} {value}' for key, value in about.items())}",
        "",
        *(f"- {each}" for each in checks),
        "",
        *table(found, rate),
        "",
        "| Composite, B | sequences/s | TFLOP/s | of the large product, least - most |",
        "| ---: | ---: | ---: | ---: |",
        *(_composite_line(each) for each in models),
    ]
    chosen.out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    (chosen.out / "lstm_on_gpu.md").write_text(text)
    record = {**about, "checks": checks, "passes": [asdict(each) for each in found], "composite": models}  # fmt: skip
    (chosen.out / "lstm_on_gpu.json").write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(text)
    return 0


def _composite_line(found: dict[str, object]) -> str:
    shares = found["shares"]
    assert isinstance(shares, tuple)
    return f"| {found['batch']} | {found['sequences_s']:,.0f} | {found['flop_s'] / 1e12:.1f} | {min(shares):.3f} - {max(shares):.3f} |"


if __name__ == "__main__":
    sys.exit(main())
