"""The loop: golden losses, bit-identical resumes, ranks that agree, and losses that are no numbers."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.optimisers import as_in_2015
from harness import checkpoint, loop
from harness.soundness import DivergedError
from harness.velocity_sgd import VelocitySGD
from slurm.ddp import Ranks, joined
from slurm.job import Interrupted
from slurm.meeting import torchrun_environment
from tasks.data.digits import Digits
from tasks.encoders import LSTM, own
from tasks.fewshot import FewShot
from tasks.pretrain import Pretrain
from tasks.schedule import Schedule, Staircase
from tasks.subset import Subset
from tasks.task import Task
from tasks.videoeval import average_by_video

SCHEDULE = Schedule(
    steps=7, batch_size=6, learning_rate=1e-2, warmup_steps=2, clip_norm=30.0, weight_decay=0.01
)
PRETRAIN = Pretrain(
    dataset=Digits(),
    encoder=LSTM(units=8, layers=2),
    predict_future="conditional",
    input_frames=4,
    future_frames=3,
    test_sequences=10,
    chunk=3,
    schedule=SCHEDULE,
)
FEWSHOT = FewShot(
    subset=Subset(dataset=Digits(), split=1, shots=2, resample=0),
    encoder=LSTM(units=8, layers=2),
    dropout=0.5,
    schedule=SCHEDULE,
)

CLAMPED = replace(  # the rate falls on the way
    PRETRAIN, schedule=replace(as_in_2015(7, 6), decay=Staircase(factor=0.5, every=2))
)
MIXED = replace(PRETRAIN, precision="bfloat16")

GOLDEN_PRETRAIN_LOSS = [1940.786, 1933.56, 1917.392, 1896.831, 1873.96, 1854.588, 1841.997]
GOLDEN_FEWSHOT_LOSS = [36.81797, 36.68526, 36.19113, 38.03543, 36.43144, 36.84356, 37.49827]


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ranks]:
    for name, value in torchrun_environment(0, 1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    with joined() as found:
        yield found


def train(
    task: Task,
    ranks: Ranks,
    folder: Path,
    *,
    stop_after: int | None = None,
    save_always: bool = False,
) -> Any:
    model = task.build(0, ())
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == stop_after

    folder.mkdir(exist_ok=True)
    trained = loop.train(
        task, model, cell="c", seed=0, ranks=ranks, folder=folder, earlier=[folder], should_stop=should_stop,
        on_step=lambda step, steps: None, checkpoint_every_s=-1.0 if save_always else 1e9,
    )  # fmt: skip
    return model, trained


def test_the_first_losses_are_golden(ranks: Ranks, tmp_path: Path) -> None:
    # From this code at its first commit: a change of more than rounding changes every number of the project.
    _, pretrained = train(PRETRAIN, ranks, tmp_path / "a")
    _, finetuned = train(FEWSHOT, ranks, tmp_path / "b")
    assert pretrained.history["loss"] == pytest.approx(GOLDEN_PRETRAIN_LOSS, rel=1e-5)
    assert finetuned.history["loss"] == pytest.approx(GOLDEN_FEWSHOT_LOSS, rel=1e-5)


@pytest.mark.parametrize(
    "task",
    [PRETRAIN, FEWSHOT, CLAMPED, MIXED],
    ids=["pretrain", "fewshot", "as_in_2015", "bfloat16"],
)
@pytest.mark.parametrize("stop_after", [1, 3, 6])
def test_a_resumed_run_is_identical_to_the_last_bit(
    task: Task, stop_after: int, ranks: Ranks, tmp_path: Path
) -> None:
    whole, undisturbed = train(task, ranks, tmp_path / "whole")
    with pytest.raises(Interrupted, match=f"stopped after step {stop_after} of 7"):
        train(task, ranks, tmp_path / "cut", stop_after=stop_after)
    resumed, trained = train(task, ranks, tmp_path / "cut")
    assert trained.resumed_from == stop_after
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    for name in ("step", "loss", "learning_rate"):
        assert trained.history[name] == undisturbed.history[name]


class Counting(Ranks):
    """One rank that counts how often the loss is read, for which a host waits for its GPU."""

    def gather_numbers(self, value: float) -> list[float]:
        READ.append(value)
        return Ranks.gather_numbers(self, value)


READ: list[float] = []


def test_the_loss_is_read_at_the_points_of_the_curve_alone(tmp_path: Path) -> None:
    alone = Counting(rank=0, num_ranks=1, device=torch.device("cpu"))
    task = replace(FEWSHOT, schedule=replace(SCHEDULE, steps=200))
    READ.clear()
    _, trained = train(task, alone, tmp_path / "cell")
    assert len(READ) == len(trained.history["step"]) == 100
    assert READ[3] / 2 == trained.history["loss"][3]


def test_one_rank_needs_no_process_group(tmp_path: Path) -> None:
    assert not torch.distributed.is_initialized()
    alone = Ranks(rank=0, num_ranks=1, device=torch.device("cpu"))
    _, trained = train(PRETRAIN, alone, tmp_path / "cell")
    assert trained.history["loss"] == pytest.approx(GOLDEN_PRETRAIN_LOSS, rel=1e-5)


@pytest.mark.parametrize("kept", [[7.0, 9.0], [16.0]], ids=["of two ranks", "of one"])
def test_what_other_ranks_had_summed_up_of_the_loss_is_not_lost(
    kept: list[float], ranks: Ranks, tmp_path: Path
) -> None:
    """A run that was cut on two ranks goes on with one: its next point is the mean over both parts."""
    task = replace(PRETRAIN, schedule=replace(SCHEDULE, steps=400))  # a point every 4 steps
    (tmp_path / "cut").mkdir()
    with pytest.raises(Interrupted):
        train(task, ranks, tmp_path / "cut", stop_after=2)
    step, state = checkpoint.newest([tmp_path / "cut"], cell="c") or (0, {})
    own = sum(state["totals"])
    checkpoint.save(tmp_path / "cut", cell="c", step=step, state={**state, "totals": kept})
    with pytest.raises(Interrupted):
        train(task, ranks, tmp_path / "cut", stop_after=3)
    _, resumed = checkpoint.newest([tmp_path / "cut"], cell="c") or (0, {})
    with pytest.raises(Interrupted):
        train(task, ranks, tmp_path / "whole", stop_after=5)
    _, whole = checkpoint.newest([tmp_path / "whole"], cell="c") or (0, {})
    assert resumed["history"]["step"] == whole["history"]["step"] == [4]
    shift = (sum(kept) - own) / 4
    assert resumed["history"]["loss"][0] == pytest.approx(whole["history"]["loss"][0] + shift)


def test_adamw_in_one_pass_is_adamw() -> None:
    def trained(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
        for step in range(5):
            optimizer.zero_grad()
            for number, each in enumerate(model.parameters()):
                each.grad = torch.sin(
                    torch.arange(each.numel()) * 0.1 * (step + number + 1)
                ).view_as(each)
            optimizer.step()
        return [each.detach().clone() for each in model.parameters()]

    one_pass, plain = PRETRAIN.build(0, ()), PRETRAIN.build(0, ())
    built = loop.build_optimizer(SCHEDULE, one_pass)
    assert all(group["fused"] for group in built.param_groups)
    names = dict(plain.named_parameters())
    groups = [
        {"params": [each for name, each in names.items() if "weight" in name], "weight_decay": 0.01},
        {"params": [each for name, each in names.items() if "weight" not in name], "weight_decay": 0.0},
    ]  # fmt: skip
    reference = torch.optim.AdamW(groups, lr=SCHEDULE.learning_rate, fused=False, foreach=False)
    for ours, theirs in zip(trained(one_pass, built), trained(plain, reference), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_numbers_that_are_complex_get_an_optimiser_that_knows_them() -> None:
    model = torch.nn.Module()
    model.register_parameter("phase", torch.nn.Parameter(torch.ones(3, dtype=torch.complex64)))
    optimizer = loop.build_optimizer(SCHEDULE, model)
    model.phase.grad = torch.ones(3, dtype=torch.complex64)  # type: ignore[union-attr]
    optimizer.step()
    assert not torch.equal(model.phase.detach(), torch.ones(3, dtype=torch.complex64))  # type: ignore[operator]


def test_saving_does_not_alter_training(ranks: Ranks, tmp_path: Path) -> None:
    quiet, _ = train(PRETRAIN, ranks, tmp_path / "quiet")
    saving, _ = train(PRETRAIN, ranks, tmp_path / "saving", save_always=True)
    assert not list((tmp_path / "quiet").iterdir())
    assert len(list((tmp_path / "saving").iterdir())) == checkpoint.KEEP
    assert all(
        torch.equal(value, saving.state_dict()[name]) for name, value in quiet.state_dict().items()
    )


class Noisy(torch.nn.Module):
    """An encoder of a user's with a dropout of its own, drawn from torch's global generator."""

    def __init__(self, frame_size: int) -> None:
        super().__init__()
        self.rnn = torch.nn.GRU(frame_size, 8)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, frames_TBD: torch.Tensor) -> torch.Tensor:
        states_TBH: torch.Tensor = self.dropout(self.rnn(frames_TBD)[0])
        return states_TBH


def test_a_resume_is_identical_with_an_encoder_that_draws_by_itself(
    ranks: Ranks, tmp_path: Path
) -> None:
    task = replace(FEWSHOT, encoder=own(Noisy))
    whole, undisturbed = train(task, ranks, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(task, ranks, tmp_path / "cut", stop_after=3)
    resumed, trained = train(task, ranks, tmp_path / "cut")
    assert trained.history["loss"] == undisturbed.history["loss"]
    assert all(
        torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items()
    )


def test_a_stop_at_the_last_step_keeps_the_training(ranks: Ranks, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="stopped after step 7 of 7"):
        train(PRETRAIN, ranks, tmp_path / "cell", stop_after=7)
    _, trained = train(PRETRAIN, ranks, tmp_path / "cell")
    assert trained.resumed_from == 7
    assert trained.history["step"][-1] == 7


def test_one_rank_is_asked_to_stop_after_each_step_and_leaves_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that comes during a step must not cost another one: a launcher waits some seconds only."""
    alone = Ranks(rank=0, num_ranks=1, device=torch.device("cpu"))
    steps: list[int] = []

    batch = Pretrain.batch

    def noted(self: Pretrain, seed: int, step: int, shard: Any) -> Any:
        steps.append(step)
        return batch(self, seed, step, shard)

    monkeypatch.setattr(Pretrain, "batch", noted)
    with pytest.raises(Interrupted, match="stopped after step 3 "):
        loop.train(
            PRETRAIN, PRETRAIN.build(0, ()), cell="c", seed=0, ranks=alone, folder=tmp_path, earlier=[],
            should_stop=lambda: len(steps) == 3, on_step=lambda step, of: None,
        )  # fmt: skip
    assert steps == [0, 1, 2]


def test_checkpoints_take_a_twentieth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(checkpoint, "time", clock)
    pace = checkpoint.Pace(30.0)
    clock.now = 29.0
    assert not pace.due(last=False)
    assert not pace.due(last=True)
    clock.now = 31.0
    assert pace.due(last=False)
    assert pace.due(last=True)
    with pace.saving():
        clock.now = 41.0  # ten seconds: the next one is due after 200
    clock.now = 41.0 + 199
    assert not pace.due(last=False)
    clock.now = 41.0 + 201
    assert pace.due(last=False)


def test_evaluation_sees_every_chunk_once_in_order(ranks: Ranks) -> None:
    predictions = loop.evaluate(PRETRAIN, PRETRAIN.build(0, ()), ranks, lambda: False)
    np.testing.assert_array_equal(predictions["sequence"], np.arange(10))


def test_a_stop_during_evaluation_leaves_no_predictions(ranks: Ranks) -> None:
    with pytest.raises(Interrupted):
        loop.evaluate(PRETRAIN, PRETRAIN.build(0, ()), ranks, lambda: True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exploding(Pretrain):
    def loss(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
        return Pretrain.loss(self, model, batch) * float("inf")


def test_a_loss_that_is_no_number_ends_the_cell_with_its_step_and_leaves_no_checkpoint(
    ranks: Ranks, tmp_path: Path
) -> None:
    task = Exploding(**{each.name: getattr(PRETRAIN, each.name) for each in fields(PRETRAIN)})
    with pytest.raises(
        DivergedError, match=r"the loss is inf .* at step 1 of 7: lower the learning rate"
    ):
        train(task, ranks, tmp_path / "cell", save_always=True)
    assert not list((tmp_path / "cell").iterdir())


def test_zero_steps_evaluate_the_model_as_built(ranks: Ranks, tmp_path: Path) -> None:
    task = replace(PRETRAIN, schedule=replace(SCHEDULE, steps=0, warmup_steps=0))
    model, trained = train(task, ranks, tmp_path / "cell")
    built = task.build(0, ())
    assert all(
        torch.equal(value, model.state_dict()[name]) for name, value in built.state_dict().items()
    )
    assert trained.history["step"] == []


@pytest.mark.parametrize("schedule", [SCHEDULE, CLAMPED.schedule], ids=["adamw", "as_in_2015"])
def test_weight_decay_falls_on_matrices_only(schedule: Schedule) -> None:
    model = PRETRAIN.build(0, ())
    optimizer = loop.build_optimizer(schedule, model)
    decayed = {
        id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        assert (id(parameter) in decayed) == (parameter.ndim == 2 and "peephole" not in name), name
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(
        list(model.parameters())
    )


def test_a_bound_on_the_velocity_brings_its_own_optimiser_and_sgd_without_one_stays_torchs() -> (
    None
):
    model = PRETRAIN.build(0, ())
    bounded = loop.build_optimizer(CLAMPED.schedule, model)
    plain = loop.build_optimizer(replace(CLAMPED.schedule, clip_velocity=None), model)
    assert isinstance(bounded, VelocitySGD)
    assert isinstance(plain, torch.optim.SGD)
    assert all(group["clip_velocity"] == 1e-4 for group in bounded.param_groups)
    assert {group["weight_decay"] for group in bounded.param_groups} == {1e-4 / 6, 0.0}


def test_one_step_as_in_2015_moves_no_weight_by_more_than_its_bound(
    ranks: Ranks, tmp_path: Path
) -> None:
    task = replace(CLAMPED, schedule=replace(CLAMPED.schedule, steps=1))
    before = task.build(0, ())
    after, _ = train(task, ranks, tmp_path / "cell")
    old = dict(before.named_parameters())
    moved = {name: (new - old[name]).detach().abs() for name, new in after.named_parameters()}
    # Weights below 1 are rounded to 2^-24 and better.
    assert max(float(each.max()) for each in moved.values()) == pytest.approx(1e-4, abs=2**-23)
    # 4 frames of a black pixel that is taken for grey: a gradient of 2, and 6e-4 times that is far above the bound.
    assert float((moved["reconstructor.readout.bias"] > 0.99e-4).float().mean()) > 0.9


WORKER = """
import json, sys
from pathlib import Path
import torch
sys.path[:0] = [{root!r}]
from harness import loop
from slurm.ddp import joined
from slurm.job import Interrupted
from tests.harness.test_loop import CLAMPED, FEWSHOT, PRETRAIN, train

torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)
with joined() as ranks:
    told = {{}}
    for name, task in (("pretrain", PRETRAIN), ("fewshot", FEWSHOT), ("as_in_2015", CLAMPED)):
        whole, trained = train(task, ranks, Path(sys.argv[1]) / f"{{name}}-whole")
        try:
            # Only the last rank is asked to stop: all leave together.
            train(task, ranks, Path(sys.argv[1]) / f"{{name}}-cut", stop_after=3 if ranks.rank == ranks.num_ranks - 1 else None)
        except Interrupted as error:
            stopped = str(error)
        resumed, again = train(task, ranks, Path(sys.argv[1]) / f"{{name}}-cut")
        same = all(torch.equal(v, resumed.state_dict()[k]) for k, v in whole.state_dict().items())
        predictions = loop.evaluate(task, whole, ranks, lambda: False)
        told[name] = {{
            "stopped": stopped,
            "same": same,
            "same_curve": again.history["loss"] == trained.history["loss"],
            "resumed_from": again.resumed_from,
            "loss": trained.history["loss"],
            "weights": float(sum(p.double().abs().sum() for p in whole.parameters())),
            "scores": {{score.metric.name: score.value for score in task.score(predictions)}},
        }}
    everyone = ranks.gather(told)
    if ranks.is_first:
        Path(sys.argv[1], "told.json").write_text(json.dumps(everyone))
"""


def torchrun(folder: Path, num_ranks: int) -> list[dict[str, Any]]:
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(WORKER.format(root=str(Path(__file__).parents[2])))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={num_ranks}",
    ]
    done = subprocess.run(
        [*command, str(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: list[dict[str, Any]] = json.loads((folder / "told.json").read_text())
    return told


def test_any_number_of_ranks_trains_the_same_and_resumes_to_the_last_bit(tmp_path: Path) -> None:
    one, three = torchrun(tmp_path / "one", 1), torchrun(tmp_path / "three", 3)
    for rank in three:
        assert rank.keys() == one[0].keys()
        for name, alone in one[0].items():
            assert rank[name]["same"]
            assert rank[name]["same_curve"]
            assert rank[name]["resumed_from"] == 3
            assert rank[name]["stopped"] == "stopped after step 3 of 7"
            assert rank[name]["loss"] == pytest.approx(alone["loss"], rel=2e-6)
            assert rank[name]["weights"] == pytest.approx(alone["weights"], rel=1e-5)
            assert rank[name]["scores"] == pytest.approx(alone["scores"], rel=1e-5)
    assert all(rank == three[0] for rank in three)


class Threads:
    """Ranks that are threads of this process: they meet where real ranks gather."""

    def __init__(self, rank: int, num_ranks: int, meet: threading.Barrier, said: dict[int, Any]):
        self.rank, self.num_ranks, self.meet, self.said = rank, num_ranks, meet, said

    def gather(self, value: Any) -> list[Any]:
        self.said[self.rank] = value
        self.meet.wait(timeout=60)
        return [self.said[rank] for rank in range(self.num_ranks)]


def test_one_to_eight_ranks_predict_every_video_once_with_the_same_score() -> None:
    """300 test videos in chunks of 13 are 24 chunks, which 5, 7 and 8 ranks cannot share evenly."""
    task = replace(FEWSHOT, chunk=13)
    model = task.build(0, ())
    wanted = {video.id for video in task.subset.test_videos}
    scores = set()
    for num_ranks in range(1, 9):
        meet = threading.Barrier(num_ranks)
        said: dict[int, Any] = {}
        with ThreadPoolExecutor(num_ranks) as pool:
            rank_of = [Threads(rank, num_ranks, meet, said) for rank in range(num_ranks)]
            whole = list(
                pool.map(lambda each: loop.evaluate(task, model, each, lambda: False), rank_of)
            )
        for predictions in whole:
            ids, _, _ = average_by_video(predictions)
            assert sorted(ids.tolist()) == sorted(wanted)
            blocks = list(zip(predictions["video_id"], predictions["block"], strict=True))
            assert len(blocks) == len(set(blocks))
            scores.add(tuple(score.value for score in task.score(predictions)))
        assert sum(len(own) for own, _ in said.values()) == task.num_chunks() == 24
    assert len(scores) == 1
