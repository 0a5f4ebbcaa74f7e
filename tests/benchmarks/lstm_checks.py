"""What has to hold before the GPU's LSTM is timed: an AssertionError says what does not."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from models import fused_lstm, triton_lstm
from models.lstm import StackedLSTM

# T, B, D, H: none a multiple of a block, one step, one sequence, and units that fill blocks.
SHAPES = [(5, 9, 33, 130), (1, 3, 7, 5), (4, 1, 6, 64), (3, 17, 64, 256)]
IN_TINY = [(2, 3, 4, 5)]  # for an interpreter
PASSES = 6
"""So many with other numbers in the same memory: graphs are recorded at the second and replayed from then on."""


def check(device: torch.device) -> list[str]:
    """Check values, gradients, graphs and determinism; say what was found.

    Raises:
        AssertionError: Something is wrong.
    """
    with _exact_products():
        return [
            _like_float64(device, torch.float32, 2e-5),
            _like_float64(device, torch.bfloat16, 5e-2),
            _graphs_give_the_same_bits(device),
            _replicas_are_models_of_their_own(device),
        ]


@contextmanager
def _exact_products() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _trained(
    layers: StackedLSTM, frames_TBD: Tensor, name: str, dtype: torch.dtype
) -> list[Tensor]:
    """Give outputs, last states and gradients of all parameters and of the frames."""
    layers.zero_grad(set_to_none=True)
    x_TBD = frames_TBD.clone().requires_grad_()
    low = dtype == torch.bfloat16
    with fused_lstm.use(name), torch.autocast(x_TBD.device.type, torch.bfloat16, enabled=low):
        h_TBH, last = layers(x_TBD)
    answers = [h_TBH, *(each for pair in last for each in pair)]
    torch.stack([(each * each.cos()).sum() for each in answers]).sum().backward()
    gradients = [each.grad for each in (x_TBD, *layers.parameters())]
    assert all(each is not None for each in gradients)
    # Not kept on the device, where every pass is to find the same memory.
    return [each.detach().cpu() for each in (*answers, *gradients) if each is not None]


def _layers(D: int, H: int, device: torch.device) -> StackedLSTM:
    layers = StackedLSTM(D, H, 2).to(device)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.uniform_(-1, 1).mul_(1 if parameter.shape[-1] == H and len(parameter) == 3 else H**-0.5)  # fmt: skip
    return layers


def _like_float64(device: torch.device, dtype: torch.dtype, allowed: float) -> str:
    worst = worst_plain = 0.0
    for T, B, D, H in SHAPES if device.type == "cuda" else IN_TINY:
        torch.manual_seed(0)
        layers, frames_TBD = _layers(D, H, device), torch.randn(T, B, D, device=device)
        ours = _trained(layers, frames_TBD, "triton", dtype)
        plain = _trained(layers, frames_TBD, "plain", dtype)
        exact = _trained(layers.double(), frames_TBD.double(), "plain", torch.float64)
        for one, other, right in zip(ours, plain, exact, strict=True):
            worst = max(worst, _off(one, right))
            worst_plain = max(worst_plain, _off(other, right))
    said = f"{dtype}: values and gradients are off float64's by {worst:.1e} of their norm at most, the plain loop's by {worst_plain:.1e}"
    assert worst <= allowed, f"{said}, which is more than {allowed}"
    return said


def _off(found: Tensor, right: Tensor) -> float:
    return float((found.double() - right).norm() / right.norm())


def _graphs_give_the_same_bits(device: torch.device) -> str:
    torch.manual_seed(1)
    units = 256 if device.type == "cuda" else 4
    layers = _layers(units, units, device)
    batches = [torch.randn(4, 8, units, device=device) for _ in range(PASSES)]

    def run() -> list[list[Tensor]]:
        return [_trained(layers, each, "triton", torch.bfloat16) for each in batches]

    with triton_lstm.graphs(True) as kept:
        recorded = run()
        # Two passes that overlap: the first's activations are needed when the second has been over.
        with torch.autocast(device.type, torch.bfloat16), fused_lstm.use("triton"):
            layers.zero_grad(set_to_none=True)
            outputs = [layers(each)[0] for each in batches[:2]]
        for each in outputs:
            each.sum().backward()
        overlapped = [each.grad.clone() for each in layers.parameters() if each.grad is not None]
        graphs = len(kept)
    with triton_lstm.graphs(False):
        launched, again = run(), run()
        with torch.autocast(device.type, torch.bfloat16), fused_lstm.use("triton"):
            layers.zero_grad(set_to_none=True)
            for each in batches[:2]:
                layers(each)[0].sum().backward()
        apart = [each.grad.clone() for each in layers.parameters() if each.grad is not None]
    pairs = [(launched, recorded, "a graph"), (launched, again, "another run")]
    for first, second, what in pairs:
        same = all(
            torch.equal(*both)
            for passes in zip(first, second, strict=True)
            for both in zip(*passes, strict=True)
        )
        assert same, f"{what} gives other bits than single launches do"
    for one, other in zip(overlapped, apart, strict=True):
        assert torch.equal(one, other), "passes that overlap disturb one another"
    assert graphs or device.type != "cuda", "no graph was recorded"
    return f"{PASSES} passes give the same bits twice, and with {graphs} graphs; passes that overlap leave one another alone"


def _replicas_are_models_of_their_own(device: torch.device) -> str:
    torch.manual_seed(2)
    R, T, B, H = 3, 4, 5, 48 if device.type == "cuda" else 4

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device=device) / H**0.5

    product, weight, bias, peephole = normal(R, T, B, 4 * H), normal(R, 4 * H, H), normal(R, 4 * H), normal(R, 3, H)  # fmt: skip
    start = (normal(R, B, H), normal(R, B, H))

    def run(replicas: slice) -> Tensor:
        h_RTBH, _, _ = fused_lstm.run(
            product[replicas].clone(), weight[replicas], bias[replicas], peephole[replicas],
            (start[0][replicas], start[1][replicas]), steps=T, batch=B, implementation="triton",
        )  # fmt: skip
        return h_RTBH

    together = run(slice(0, R))
    off = max(_off(together[r : r + 1], run(slice(r, r + 1)).double()) for r in range(R))
    assert off <= 1e-5, f"replicas together are off by {off:.1e}"
    return f"{R} replicas together are off each alone by {off:.1e} of their norm"
