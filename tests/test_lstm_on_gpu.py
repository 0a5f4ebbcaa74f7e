"""The command that measures a GPU, where there is none: what it refuses, and that it would run."""

from __future__ import annotations

import statistics

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: it exists for Linux alone")

from models import triton_kernels
from tests.benchmarks import lstm_on_gpu
from tests.benchmarks.lstm_on_gpu import Size, floor, flop, measure, table


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: it would be measured")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lstm_on_gpu", "--out", str(tmp_path / "out")])
    assert lstm_on_gpu.main() == 2
    assert capsys.readouterr().err.count("There is no GPU here") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not triton_kernels.INTERPRETED, reason="Triton does not interpret here")
def test_all_arms_are_timed_in_every_round(monkeypatch):
    monkeypatch.setattr(lstm_on_gpu, "UNTIMED", 0)
    size = Size(steps=2, batch=2, inputs=3, units=4, layers=1)
    found = measure(size, torch.device("cpu"), rounds=2)
    assert {each.arm for each in found} == {
        "ours", "ours, no graphs", "plain loop", "cuDNN", "cuDNN, autocast", "floor",
    }  # fmt: skip
    assert all(len(each.ms) == 2 and min(each.ms) > 0 for each in found)
    cells = [cell.strip() for cell in table(found, rate=1e9)[-1].strip("|").split("|")]
    assert cells[:2] == ["1", "2"]
    ours = next(each for each in found if each.arm == "ours")
    assert cells[2] == f"{statistics.median(ours.ms):.3f}"


def test_the_floor_does_the_products_that_are_counted(monkeypatch):
    """Every product that is made is counted here by its shape, apart from the formula."""
    counted = 0

    def mm(left, right, *, out):
        nonlocal counted
        assert out.shape == (len(left), right.shape[1])
        counted += 2 * left.shape[0] * left.shape[1] * right.shape[1]

    size = Size(steps=5, batch=3, inputs=7, units=4, layers=2)
    products = floor(size, torch.device("cpu"))
    monkeypatch.setattr(torch, "mm", mm)
    products()
    assert counted == flop(size)
