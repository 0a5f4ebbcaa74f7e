"""A worker that is given several cells: trained together, and each accepted, failed or taken up again by itself."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import group, result, work
from harness.order import Order
from harness.soundness import DivergedError
from harness.work import Worker
from harness.workdir import Workdir
from slurm.ddp import Ranks, joined
from slurm.job import Event, Interrupted
from slurm.meeting import torchrun_environment
from tasks.cell import Cell
from tasks.data.digits import Digits
from tasks.encoders import LSTM
from tasks.fewshot import Blocks, FewShot
from tasks.pretrain import Pretrain
from tasks.schedule import Schedule
from tasks.subset import Subset
from tasks.task import Shard

SCHEDULE = Schedule(steps=6, batch_size=4, learning_rate=1e-2, clip_norm=5.0)
ENCODER = LSTM(units=6, layers=1)


def subset(resample: int) -> Subset:
    return Subset(dataset=Digits(), split=1, shots=1, resample=resample)


def fewshot(resample: int, *needs: Cell) -> Cell:
    task = FewShot(subset=subset(resample), encoder=ENCODER, dropout=0.2, schedule=SCHEDULE)
    return Cell(task=task, seed=resample, needs=needs, label="LSTM")


def pretraining(seed: int) -> Cell:
    short = Schedule(steps=2, batch_size=4, learning_rate=1e-2)
    task = Pretrain(
        dataset=Digits(), encoder=ENCODER, schedule=short, test_sequences=4, input_frames=4, future_frames=2
    )  # fmt: skip
    return Cell(task=task, seed=seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unlucky(FewShot):
    """The same, of which one resample has batches that cannot be read, or are no numbers."""

    resample: int
    raises: bool

    def batch(self, seed: int, step: int, shard: Shard) -> Blocks:
        blocks = FewShot.batch(self, seed, step, shard)
        if self.subset.resample != self.resample or step < 2:
            return blocks
        if self.raises:
            raise OSError("the disk is gone")
        return blocks._replace(frames_TBD=blocks.frames_TBD * float("nan"))

    def together(self) -> str:
        return "unlucky"


def unlucky(resample: int, *, raises: bool) -> Cell:
    task = Unlucky(
        subset=subset(resample), encoder=ENCODER, dropout=0.2, schedule=SCHEDULE, resample=1, raises=raises
    )  # fmt: skip
    return Cell(task=task, seed=resample)


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in torchrun_environment(0, 1).items():
            patch.setenv(name, value)
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        with joined() as found:
            yield found
        torch.set_num_threads(before)


class Bench:
    """A work folder, a worker on it, and what it told."""

    def __init__(self, folder: Path, ranks: Ranks, cells: list[Cell]) -> None:
        self.workdir, self.ranks, self.cells = Workdir(folder), ranks, cells
        self.events: list[Event] = []

    def worker(self, stop: Callable[[], bool] = lambda: False) -> Worker:
        order = Order(workdir=str(self.workdir.root), source="fig12", settings=())
        return Worker(order, self.ranks, stop, {cell.key: cell for cell in self.cells})

    def together(self, stop: Callable[[], bool] = lambda: False, cells: Any = None) -> None:
        keys = [cell.key for cell in cells or self.cells]
        self.worker(stop).carry_out_several(keys, self.events.append)

    def alone(self, cell: Cell) -> None:
        self.worker().carry_out(cell.key, self.events.append)

    def ends(self) -> list[str]:
        told = {event.job: event.kind for event in self.events if event.kind != "step"}
        return [told.get(cell.key, "") for cell in self.cells]

    def body(self, cell: Cell) -> dict[str, Any]:
        found = result.read(self.workdir, cell, verify=True)
        assert found is not None
        return dict(found.body)

    def attempts(self) -> list[int]:
        return [len(result.attempts(self.workdir, cell)) for cell in self.cells]

    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in self.workdir.runs.glob("*/attempt-*/checkpoint-*"))


@pytest.fixture
def bench(tmp_path: Path, ranks: Ranks) -> Bench:
    return Bench(tmp_path / "work", ranks, [fewshot(index) for index in range(3)])


@pytest.fixture
def apart(tmp_path: Path, ranks: Ranks) -> Bench:
    """The same cells, done one after the other in a folder of their own."""
    return Bench(tmp_path / "apart", ranks, [fewshot(index) for index in range(3)])


def stop_after(times: int) -> Callable[[], bool]:
    asked = iter(range(1, 10_000))
    return lambda: next(asked) >= times


def test_each_cell_is_accepted_as_if_it_had_been_trained_alone(bench: Bench, apart: Bench) -> None:
    bench.together()
    assert bench.ends() == ["done"] * 3
    assert bench.attempts() == [1, 1, 1]
    assert bench.checkpoints() == []
    for cell in bench.cells:
        apart.alone(cell)
        ours, theirs = bench.body(cell), apart.body(cell)
        assert ours["history"]["loss"] == pytest.approx(theirs["history"]["loss"], rel=1e-5)
        for one, other in zip(ours["scores"], theirs["scores"], strict=True):
            assert one["value"] == pytest.approx(other["value"], rel=1e-5)
            assert one["count"] == other["count"]
        assert ours["files"].keys() == theirs["files"].keys()
        assert ours["files"]["subset.json"] == theirs["files"]["subset.json"]


def test_a_cell_that_was_sealed_and_not_accepted_is_not_trained_again_with_others(
    bench: Bench,
) -> None:
    """Its process was killed in between."""
    bench.alone(bench.cells[1])
    bench.workdir.accepted(bench.cells[1].key).unlink()
    bench.together()
    assert bench.ends() == ["done"] * 3
    assert bench.attempts() == [1, 1, 1]
    others = sorted(bench.cells[index].key for index in (0, 2))
    assert bench.body(bench.cells[0])["provenance"]["together"] == others


def test_provenance_says_with_which_cells_one_was_trained(bench: Bench, apart: Bench) -> None:
    bench.together()
    everyone = sorted(cell.key for cell in bench.cells)
    for cell in bench.cells:
        assert bench.body(cell)["provenance"]["together"] == everyone
    apart.alone(apart.cells[0])
    assert "together" not in apart.body(apart.cells[0])["provenance"]


def test_each_cell_has_a_log_of_its_own_and_a_share_of_the_time(bench: Bench) -> None:
    bench.together()
    # The first one's is what the process prints, which is pytest's here.
    for cell in bench.cells[1:]:
        (attempt,) = result.attempts(bench.workdir, cell)
        assert "3 cells are trained together" in (attempt / "log.txt").read_text()
    usage = [bench.body(cell)["usage"] for cell in bench.cells]
    assert all(each["elapsed_s"] > 0 and each["cpu_s"] > 0 for each in usage)
    assert all(each["resumed_from_step"] == 0 for each in usage)


def test_each_starts_from_what_it_needs(tmp_path: Path, ranks: Ranks) -> None:
    needed = [pretraining(seed) for seed in range(2)]
    cells = [fewshot(0, needed[0]), fewshot(1, needed[0]), fewshot(2, needed[1]), fewshot(3)]
    bench = Bench(tmp_path / "a", ranks, [*needed, *cells])
    apart = Bench(tmp_path / "b", ranks, [*needed, *cells])
    for each in (bench, apart):
        each.alone(needed[0])
        each.alone(needed[1])
    bench.together(cells=cells)
    assert bench.ends()[2:] == ["done"] * 4
    for cell in cells:
        apart.alone(cell)
        ours, theirs = bench.body(cell), apart.body(cell)
        assert ours["rests_on"] == theirs["rests_on"]
        assert ours["history"]["loss"] == pytest.approx(theirs["history"]["loss"], rel=1e-5)
        assert len(ours["provenance"]["together"]) == 4


def test_one_that_lacks_what_it_needs_fails_and_the_others_go_on(
    tmp_path: Path, ranks: Ranks
) -> None:
    cells = [fewshot(0), fewshot(1, pretraining(0)), fewshot(2)]
    bench = Bench(tmp_path, ranks, cells)
    bench.together()
    assert bench.ends() == ["done", "failed", "done"]
    assert "which has no accepted result" in (result.failure(bench.workdir, cells[1]) or "")
    assert bench.body(cells[0])["provenance"]["together"] == sorted([cells[0].key, cells[2].key])


def test_one_that_diverges_fails_with_the_sentence_that_it_has_alone(
    tmp_path: Path, ranks: Ranks
) -> None:
    cells = [unlucky(index, raises=False) for index in range(3)]
    bench, apart = Bench(tmp_path / "a", ranks, cells), Bench(tmp_path / "b", ranks, cells)
    bench.together()
    assert bench.ends() == ["done", "failed", "done"]
    with pytest.raises(Exception, match=r"the loss is nan .* at step 3 of 6"):
        apart.alone(cells[1])
    why = result.failure(bench.workdir, cells[1])
    assert why == result.failure(apart.workdir, cells[1])
    assert [event.detail for event in bench.events if event.kind == "failed"] == [why]


def test_what_cannot_be_trained_together_is_done_one_by_one(tmp_path: Path, ranks: Ranks) -> None:
    cells = [unlucky(index, raises=True) for index in range(3)]
    bench = Bench(tmp_path, ranks, cells)
    bench.together()
    assert bench.ends() == ["done", "failed", "done"]
    assert result.failure(bench.workdir, cells[1]) == "OSError: the disk is gone"
    assert "together" not in bench.body(cells[0])["provenance"]
    first, _ = result.attempts(bench.workdir, cells[2])
    assert "are done one by one" in (first / "log.txt").read_text()


def test_an_interrupted_group_goes_on_together_or_alone(bench: Bench, apart: Bench) -> None:
    with pytest.raises(Interrupted):
        bench.together(stop_after(2))
    assert bench.ends() == ["", "", ""]
    assert bench.checkpoints() == ["checkpoint-000000002.pt"] * 3
    bench.alone(bench.cells[0])
    bench.together()
    assert bench.ends() == ["done"] * 3
    assert bench.attempts() == [2, 2, 2]
    assert bench.checkpoints() == []
    assert "together" not in bench.body(bench.cells[0])["provenance"]
    rest = sorted(cell.key for cell in bench.cells[1:])
    for cell in bench.cells:
        apart.alone(cell)
        ours = bench.body(cell)
        assert ours["usage"]["resumed_from_step"] == 2
        assert ours["provenance"].get("together", rest) == rest
        assert ours["history"]["loss"] == pytest.approx(
            apart.body(cell)["history"]["loss"], rel=1e-5
        )


def test_those_that_are_further_than_others_are_not_held_up(bench: Bench) -> None:
    with pytest.raises(Interrupted):
        bench.together(stop_after(3), cells=bench.cells[:1])
    bench.together()
    assert bench.ends() == ["done"] * 3
    starts = [bench.body(cell)["usage"]["resumed_from_step"] for cell in bench.cells]
    assert starts == [3, 0, 0]
    assert "together" not in bench.body(bench.cells[0])["provenance"]
    assert len(bench.body(bench.cells[1])["provenance"]["together"]) == 2


def test_cells_with_a_result_are_told_done_and_not_done_again(bench: Bench) -> None:
    bench.alone(bench.cells[1])
    bench.events.clear()
    bench.together()
    assert bench.ends() == ["done"] * 3
    assert bench.attempts() == [1, 1, 1]
    assert len(bench.body(bench.cells[0])["provenance"]["together"]) == 2


def test_a_stop_between_evaluations_keeps_what_was_accepted(bench: Bench) -> None:
    # Six steps, then each chunk of the test list asks once: the second cell is reached after those of the first.
    chunks = bench.cells[0].task.num_chunks()
    with pytest.raises(Interrupted, match="during evaluation"):
        bench.together(stop_after(6 + chunks + 1))
    assert bench.ends() == ["done", "", ""]
    kept = json.loads((bench.workdir.accepted(bench.cells[0].key)).read_bytes())
    bench.together()
    assert bench.ends() == ["done"] * 3
    assert bench.attempts() == [1, 2, 2]
    assert bench.body(bench.cells[0])["attempt"] == kept["attempt"]


def test_the_times_of_cells_add_up_to_that_of_the_process(bench: Bench) -> None:
    began, cpu = time.monotonic(), time.process_time()
    bench.together()
    elapsed_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
    bodies = [bench.body(cell) for cell in bench.cells]
    assert 0.5 * elapsed_s < sum(body["usage"]["elapsed_s"] for body in bodies) <= 1.01 * elapsed_s
    assert 0.5 * cpu_s < sum(body["usage"]["cpu_s"] for body in bodies) <= 1.01 * cpu_s + 0.02


def test_which_errors_a_gpu_may_not_get_over() -> None:
    gpu, cpu = (Ranks(rank=0, num_ranks=1, device=torch.device(name)) for name in ("cuda", "cpu"))
    assert group._outlasts(RuntimeError("CUDA error: an illegal memory access"), gpu)
    assert not group._outlasts(torch.OutOfMemoryError("CUDA out of memory"), gpu)
    assert not group._outlasts(DivergedError("the loss is nan"), gpu)
    assert not group._outlasts(RuntimeError("any"), cpu)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_after_a_failure_on_a_gpu_the_cells_in_hand_go_to_another_process(
    device: str, tmp_path: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process cannot get over must not fail cells that would succeed elsewhere: these are told nothing of."""
    bench = Bench(tmp_path / "work", ranks, [fewshot(index) for index in range(3)])
    bench.ranks = Ranks(rank=0, num_ranks=1, device=torch.device(device))

    def broken(self: Worker, key: str, on_event: object) -> None:
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(Worker, "carry_out", broken)
    monkeypatch.setattr(
        work.group, "form", lambda *_words, **_more: []
    )  # no group: all are done alone
    if device == "cuda":
        with pytest.raises(RuntimeError, match="given out again"):
            bench.together()
        assert bench.ends() == ["failed", "", ""]
    else:
        bench.together()
        assert bench.ends() == ["failed"] * 3
