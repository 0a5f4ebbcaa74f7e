"""Batches drawn ahead are the batches; errors come in their place; leaving ends the thread."""

import threading
from typing import NamedTuple

import pytest
import torch

from harness import ahead
from tasks.data.digits import Digits
from tasks.encoders import LSTM
from tasks.fewshot import FewShot
from tasks.schedule import Schedule
from tasks.subset import Subset
from tasks.task import Shard

CPU = torch.device("cpu")


class Numbers(NamedTuple):
    values: torch.Tensor
    name: str


def numbers(step: int) -> Numbers:
    return Numbers(torch.full((3,), float(step)), f"step {step}")


def threads() -> int:
    return sum(each.name.startswith("batches") for each in threading.enumerate())


@pytest.mark.parametrize("in_background", [False, True])
@pytest.mark.parametrize("steps", [range(0), range(1), range(3, 4), range(7, 30)])
def test_batches_come_once_each_and_in_order(in_background: bool, steps: range) -> None:
    with ahead.batches(numbers, steps, CPU, in_background=in_background) as drawn:
        found = list(drawn)
    assert [each.name for each in found] == [f"step {step}" for step in steps]
    assert [each.values.tolist() for each in found] == [[float(step)] * 3 for step in steps]
    assert all(isinstance(each, Numbers) for each in found)


def test_few_shot_batches_drawn_ahead_are_those_drawn_on_the_spot_masks_included() -> None:
    task = FewShot(
        subset=Subset(dataset=Digits(), split=1, shots=2, resample=0),
        encoder=LSTM(units=4, layers=1),
        dropout=0.5,
        schedule=Schedule(steps=6, batch_size=5, learning_rate=1e-3),
    )
    with ahead.batches(
        lambda step: task.batch(3, step, Shard()), range(6), CPU, in_background=True
    ) as drawn:
        for step, batch in enumerate(drawn):
            torch.rand(7)  # the computing thread draws, too: from another generator
            alone = task.batch(3, step, Shard())
            assert torch.equal(batch.frames_TBD, alone.frames_TBD)
            assert torch.equal(batch.labels_B, alone.labels_B)
            assert torch.equal(
                batch.dropout(torch.ones(16, 5, 8)), alone.dropout(torch.ones(16, 5, 8))
            )


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_no_more_batches_are_drawn_than_one_is_ahead(taken: int) -> None:
    begun: list[int] = []
    seen = threading.Semaphore(0)

    def draw(step: int) -> Numbers:
        begun.append(step)
        seen.release()
        return numbers(step)

    with ahead.batches(draw, range(100), CPU, in_background=True) as drawn:
        for _ in range(taken):
            next(drawn)
        for _ in range(taken + ahead.AHEAD if taken else 0):
            assert seen.acquire(timeout=60)  # so many are drawn without being asked for
    assert begun == list(range(taken + ahead.AHEAD if taken else 0))  # and never one more


@pytest.mark.parametrize("in_background", [False, True])
def test_an_error_is_raised_where_its_batch_is_asked_for_with_its_own_words(
    in_background: bool,
) -> None:
    def draw(step: int) -> Numbers:
        if step == 4:
            raise ValueError("video v_Run_g01_c01 is not what was written: extract shard 3 again")
        return numbers(step)

    with ahead.batches(draw, range(9), CPU, in_background=in_background) as drawn:
        for step in range(4):
            assert next(drawn).name == f"step {step}"
        with pytest.raises(ValueError, match=r"^video v_Run_g01_c01 is not what was written"):
            next(drawn)
    assert threads() == 0


def test_leaving_early_waits_for_what_is_being_drawn_and_ends_the_thread() -> None:
    drawing, go_on, finished = threading.Event(), threading.Event(), []

    def draw(step: int) -> Numbers:
        if step == 2:
            drawing.set()
            assert go_on.wait(timeout=60)
        finished.append(step)
        return numbers(step)

    def leave() -> None:
        with ahead.batches(draw, range(1000), CPU, in_background=True) as drawn:
            next(drawn)
            assert drawing.wait(timeout=60)
            threading.Timer(0.05, go_on.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert threads() == 0
    assert finished == [0, 1, 2]


def test_on_a_cpu_nothing_is_drawn_before_it_is_asked_for_and_no_thread_begins() -> None:
    drawn_in: list[threading.Thread] = []

    def draw(step: int) -> Numbers:
        drawn_in.append(threading.current_thread())
        return numbers(step)

    with ahead.batches(draw, range(5), CPU) as drawn:
        next(drawn)
        assert drawn_in == [threading.main_thread()]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_batches_arrive_whole_though_computing_is_behind() -> None:
    device = torch.device("cuda", torch.cuda.current_device())

    def draw(step: int) -> Numbers:
        return Numbers(torch.full((1 << 20,), float(step)), "")

    sums = []
    with ahead.batches(draw, range(50), device) as drawn:
        for batch in drawn:
            torch.cuda._sleep(1_000_000)
            sums.append(batch.values.double().sum())
    assert [float(each) for each in sums] == [float(step << 20) for step in range(50)]
