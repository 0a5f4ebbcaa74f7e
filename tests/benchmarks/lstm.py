"""The peephole LSTM against the matrix products that it cannot do without, torch.nn.LSTM, and the plain loop.

The floor of a layer, forward and backward with frames that want no gradient: the product of all frames with the input weights,
one recurrent product a step forward and one a step back, and one product for the gradient of each of the two matrices; results
are written into tensors that are there. Everything else (gates, peepholes, biases, their gradients, memory) counts as overhead,
and so does making the results' memory. Peak memory is the process's high-water mark above what it held before the first pass.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from models import fused_lstm
from models.lstm import StackedLSTM
from tests.benchmarks.ratios import Ratio, interleaved

SETTINGS = (
    # T, B, D, H, rounds, goal against the floor
    (16, 64, 4096, 2048, 7, "<= 1.05"),
    (16, 128, 512, 512, 25, "<= 1.15"),
    (16, 128, 1024, 128, 51, "<= 1.35"),
    (16, 16, 1024, 128, 51, ""),
    (16, 16, 128, 128, 51, ""),
)
"""Paper size, two that are mostly pointwise, and the two layers of a classifier at demo size."""


def flop(T: int, B: int, D: int, H: int) -> int:
    """Floating-point operations of the floor: 2 a weight and frame, forward, for weights' gradients, for the state's."""
    return 2 * T * B * 4 * H * (2 * (D + H) + H)


def floor(T: int, B: int, D: int, H: int) -> Callable[[], None]:
    """The bare matrix products of a layer."""
    x_ND, h_TBH = torch.randn(T * B, D), torch.randn(T, B, H)
    weight_x, weight_h = torch.randn(4 * H, D), torch.randn(4 * H, H)
    d_gates_NG, gates_NG = torch.randn(T * B, 4 * H), torch.empty(T * B, 4 * H)
    d_weight_x, d_weight_h = torch.empty_like(weight_x), torch.empty_like(weight_h)
    d_h_BH = torch.empty(B, H)
    gates_TBG, d_gates_TBG = gates_NG.view(T, B, -1), d_gates_NG.view(T, B, -1)

    def run() -> None:
        torch.mm(x_ND, weight_x.t(), out=gates_NG)
        for step in range(T):
            torch.mm(h_TBH[step], weight_h.t(), out=gates_TBG[step])
        for step in range(T):
            torch.mm(d_gates_TBG[step], weight_h, out=d_h_BH)
        torch.mm(d_gates_NG.t(), x_ND, out=d_weight_x)
        torch.mm(d_gates_NG.t(), h_TBH.view(T * B, H), out=d_weight_h)

    return run


def passes(name: str, T: int, B: int, D: int, H: int) -> Callable[[], None]:
    """Forward and backward of one layer: an implementation of ours by name, or torch.nn.LSTM."""
    x_TBD, d_h_TBH = torch.randn(T, B, D), torch.randn(T, B, H)
    layer = torch.nn.LSTM(D, H) if name == "torch.nn.LSTM" else StackedLSTM(D, H, 1)

    def run() -> None:
        layer.zero_grad()
        layer(x_TBD)[0].backward(d_h_TBH)

    def run_ours() -> None:
        with fused_lstm.use(name):
            run()

    return run if name == "torch.nn.LSTM" else run_ours


def ratios(threads: int) -> list[Ratio]:
    """All settings with so many threads, and the peak memory of the largest."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    found = []
    try:
        for *shape, rounds, goal in SETTINGS:
            runs = {"floor": floor(*shape)}
            runs |= {name: passes(name, *shape) for name in ("auto", "in_place", "plain", "torch.nn.LSTM")}  # fmt: skip
            seconds = interleaved(runs, rounds)
            T, B, D, H = shape
            told = f"T={T} B={B} D={D} H={H}, {threads} threads"
            floor_s = sorted(seconds["floor"])[rounds // 2]
            floor_named = f"its matrix products ({flop(*shape) / floor_s / 1e9:.0f} GFLOP/s)"
            chosen = fused_lstm.chosen(torch.zeros(1))
            for name, title in (
                ("auto", f"peephole LSTM ({chosen})"),
                ("in_place", "the same, torch's operations in place"),
                ("plain", "the plain loop"),
                ("torch.nn.LSTM", "torch.nn.LSTM (no peepholes)"),
            ):
                found.append(
                    Ratio.of(
                        f"{title}, {told}",
                        seconds[name],
                        floor_named,
                        seconds["floor"],
                        goal if name == "auto" else "",
                    )
                )
            found.append(
                Ratio.of(
                    f"peephole LSTM ({chosen}), {told}",
                    seconds["auto"],
                    "torch.nn.LSTM (no peepholes)",
                    seconds["torch.nn.LSTM"],
                )
            )
    finally:
        torch.set_num_threads(before)
    return found + [memory(*shape) for *shape, _, _ in SETTINGS[:3]]


def memory(T: int, B: int, D: int, H: int) -> Ratio:
    """Peak memory of a pass against torch.nn.LSTM's, each in a process of its own; `seconds` are GiB here."""
    ours, theirs = (peak_bytes(name, T, B, D, H) for name in ("auto", "torch.nn.LSTM"))
    what = f"peak memory of the peephole LSTM, T={T} B={B} D={D} H={H} (GiB)"
    return Ratio.of(what, [ours / 2**30], "torch.nn.LSTM's", [theirs / 2**30], "<= 1")


def peak_bytes(name: str, T: int, B: int, D: int, H: int) -> int:
    """High-water mark of a process above what it holds when the layer and its inputs are made."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.lstm", json.dumps([name, T, B, D, H])],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def _peak_here(name: str, *shape: int) -> int:
    passes(name, 2, 2, 3, 2)()  # what is loaded at first use is not the layer's
    run = passes(name, *shape)
    before = _status("VmRSS")
    for _ in range(3):
        run()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    sys.stdout.write(str(_peak_here(*json.loads(sys.argv[1]))))
