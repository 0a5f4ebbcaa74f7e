"""Cells trained together: each as if it had been trained alone, and interrupted, resumed or failing by itself."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.optimisers import as_in_2015
from harness import checkpoint, loop, together
from harness.loop import Trained
from harness.soundness import DivergedError
from harness.together import Member
from slurm.ddp import Ranks, joined
from slurm.job import Interrupted
from slurm.meeting import torchrun_environment
from tasks.data.digits import Digits
from tasks.encoders import LSTM, own
from tasks.fewshot import Blocks, FewShot
from tasks.schedule import Schedule
from tasks.subset import Subset
from tasks.task import Shard

ADAMW = Schedule(
    steps=7, batch_size=6, learning_rate=1e-2, warmup_steps=2, clip_norm=6.0, weight_decay=0.01
)
SGD = replace(ADAMW, optimizer="sgd", learning_rate=1e-3)
SCHEDULES = {
    "adamw": ADAMW,
    "adamw, unclipped": replace(ADAMW, clip_norm=None),
    "sgd": SGD,
    "as in 2015": replace(as_in_2015(7, 6), clip_velocity=3e-5, clip_norm=4.0),
}


def task(resample: int, schedule: Schedule = ADAMW, **changes: Any) -> FewShot:
    return FewShot(
        subset=Subset(dataset=Digits(), split=1, shots=1 + resample % 2, resample=resample),
        encoder=changes.pop("encoder", LSTM(units=7, layers=2)),
        dropout=changes.pop("dropout", 0.3),
        schedule=schedule,
        **changes,
    )


def members(
    folder: Path, tasks: list[FewShot], *, double: bool = False, resume: bool = False
) -> list[Member]:
    made = []
    for index, each in enumerate(tasks):
        own_folder = folder / str(index)
        own_folder.mkdir(parents=True, exist_ok=True)
        made.append(
            Member(
                key=f"c{index}",
                task=each,
                seed=index,
                model=built(each, index, double=double),
                folder=own_folder,
                start=checkpoint.newest([own_folder], cell=f"c{index}") if resume else None,
            )
        )
    return made


def built(each: FewShot, seed: int, *, double: bool = False) -> torch.nn.Module:
    model = each.build(seed, ())
    return model.double() if double else model


@dataclass(frozen=True, kw_only=True, slots=True)
class InDouble(FewShot):
    """The same with frames in double precision, so that all is computed in it."""

    def batch(self, seed: int, step: int, shard: Shard) -> Blocks:
        blocks = FewShot.batch(self, seed, step, shard)
        return blocks._replace(frames_TBD=blocks.frames_TBD.double())

    def together(self) -> str:
        return "in double"


def in_double(each: FewShot) -> FewShot:
    return InDouble(
        subset=each.subset, encoder=each.encoder, dropout=each.dropout, schedule=each.schedule
    )


def stop_after(steps: int | None) -> Any:
    asked = iter(range(1, 10_000))
    return lambda: next(asked) == steps


def train(made: list[Member], *, stop: int | None = None, every: float = 1e9) -> dict[str, Any]:
    return together.train(
        made,
        device=torch.device("cpu"),
        should_stop=stop_after(stop),
        on_step=lambda step, steps: None,
        checkpoint_every_s=every,
    )


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in torchrun_environment(0, 1).items():
            patch.setenv(name, value)
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        with joined() as found:
            yield found


def alone(
    each: FewShot,
    index: int,
    ranks: Ranks,
    folder: Path,
    *,
    stop: int | None = None,
    double: bool = False,
    every: float = 1e9,
) -> tuple[torch.nn.Module, Trained]:
    folder.mkdir(parents=True, exist_ok=True)
    model = built(each, index, double=double)
    trained = loop.train(
        each, model, cell=f"c{index}", seed=index, ranks=ranks, folder=folder, earlier=[folder],
        should_stop=stop_after(stop), on_step=lambda step, steps: None, checkpoint_every_s=every,
    )  # fmt: skip
    return model, trained


def assert_same(
    one: torch.nn.Module, other: torch.nn.Module, *, rtol: float = 1e-4, atol: float = 1e-6
) -> None:
    for name, value in one.state_dict().items():
        torch.testing.assert_close(
            other.state_dict()[name], value, rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_together_in_double_precision_is_alone_to_rounding(
    schedule: Schedule, ranks: Ranks, tmp_path: Path
) -> None:
    tasks = [in_double(task(index, schedule)) for index in range(2)]
    made = members(tmp_path / "together", tasks, double=True)
    ended = train(made)
    for index, each in enumerate(tasks):
        model, trained = alone(each, index, ranks, tmp_path / f"alone{index}", double=True)
        assert_same(model, made[index].model, rtol=1e-10, atol=1e-12)
        for name in ("step", "loss", "learning_rate"):
            assert ended[f"c{index}"].history[name] == pytest.approx(
                trained.history[name], rel=1e-12
            )


def test_together_in_single_precision_is_alone_to_rounding_predictions_too(
    ranks: Ranks, tmp_path: Path
) -> None:
    tasks = [task(index) for index in range(3)]
    made = members(tmp_path / "together", tasks)
    ended = train(made)
    for index, each in enumerate(tasks):
        model, trained = alone(each, index, ranks, tmp_path / f"alone{index}")
        assert_same(model, made[index].model, rtol=1e-3, atol=1e-5)
        assert ended[f"c{index}"].history["loss"] == pytest.approx(
            trained.history["loss"], rel=1e-5
        )
        ours, theirs = made[index].model.eval(), model.eval()
        with torch.no_grad():
            one, other = each.predict(ours, 0), each.predict(theirs, 0)
        assert one.keys() == other.keys()
        for name in one:
            if one[name].dtype.kind == "f":
                assert one[name] == pytest.approx(other[name], abs=1e-5)
            else:
                assert one[name].tolist() == other[name].tolist()


def test_each_gradient_is_clipped_by_its_own_norm() -> None:
    made = [torch.nn.Linear(3, 2) for _ in range(3)]
    stacked = torch.nn.Module()
    stacked.weight = torch.nn.Parameter(torch.stack([each.weight.detach() for each in made]))
    stacked.bias = torch.nn.Parameter(torch.stack([each.bias.detach() for each in made]))
    for size, each in zip((0.1, 10.0, float("nan")), made, strict=True):
        each.weight.grad = torch.full((2, 3), size)
        each.bias.grad = torch.full((2,), -size)
    for name in ("weight", "bias"):
        stacked.get_parameter(name).grad = torch.stack([m.get_parameter(name).grad for m in made])
    together.clip_grad_norms_(stacked, 2.0)
    for r in (0, 1):
        torch.nn.utils.clip_grad_norm_(made[r].parameters(), 2.0)
        for name in ("weight", "bias"):
            found, wanted = stacked.get_parameter(name).grad, made[r].get_parameter(name).grad
            assert found is not None
            assert wanted is not None
            torch.testing.assert_close(found[r], wanted)


def checkpoints(folder: Path) -> list[str]:
    return sorted(f"{path.parent.name}/{path.name}" for path in folder.glob("*/checkpoint-*.pt"))


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_an_interrupted_group_goes_on_together_to_the_last_bit_and_alone_to_rounding(
    schedule: Schedule, ranks: Ranks, tmp_path: Path
) -> None:
    tasks = [task(index, schedule) for index in range(2)]
    whole = members(tmp_path / "whole", tasks)
    undisturbed = train(whole)
    cut = members(tmp_path / "cut", tasks)
    with pytest.raises(Interrupted, match="stopped after step 3 of 7"):
        train(cut, stop=3)
    assert checkpoints(tmp_path / "cut") == [f"{i}/checkpoint-000000003.pt" for i in range(2)]
    model, trained = alone(tasks[1], 1, ranks, tmp_path / "cut" / "1")
    assert trained.resumed_from == 3
    assert_same(whole[1].model, model, rtol=1e-3, atol=1e-5)
    again = members(tmp_path / "cut", tasks, resume=True)
    resumed = train(again)
    for index, key in enumerate(("c0", "c1")):
        assert resumed[key].resumed_from == 3
        for name in ("step", "loss", "learning_rate"):
            assert resumed[key].history[name] == undisturbed[key].history[name]
        assert_same(whole[index].model, again[index].model, rtol=0, atol=0)


def test_what_was_summed_up_since_the_last_point_of_the_curve_is_taken_up(tmp_path: Path) -> None:
    """A schedule of 250 steps has a point every two: a group that is cut between two goes on with half a sum."""
    tasks = [task(index, replace(ADAMW, steps=250, batch_size=2)) for index in range(2)]
    undisturbed = train(members(tmp_path / "whole", tasks), stop=None)
    cut = members(tmp_path / "cut", tasks)
    with pytest.raises(Interrupted, match="stopped after step 5 of 250"):
        train(cut, stop=5)
    resumed = train(members(tmp_path / "cut", tasks, resume=True))
    for key in ("c0", "c1"):
        assert resumed[key].history["step"][:4] == [2, 4, 6, 8]
        assert resumed[key].history["loss"] == undisturbed[key].history["loss"]


def test_cells_that_were_interrupted_alone_go_on_together(ranks: Ranks, tmp_path: Path) -> None:
    tasks = [task(index) for index in range(2)]
    for index, each in enumerate(tasks):
        with pytest.raises(Interrupted):
            alone(each, index, ranks, tmp_path / str(index), stop=4)
    made = members(tmp_path, tasks, resume=True)
    ended = train(made)
    for index, each in enumerate(tasks):
        model, trained = alone(each, index, ranks, tmp_path / f"alone{index}")
        assert ended[f"c{index}"].resumed_from == 4
        assert ended[f"c{index}"].history["loss"] == pytest.approx(
            trained.history["loss"], rel=1e-5
        )
        assert_same(model, made[index].model, rtol=1e-3, atol=1e-5)


def test_cells_that_were_trained_to_the_end_are_only_taken_up(tmp_path: Path) -> None:
    tasks = [task(index) for index in range(2)]
    whole = members(tmp_path, tasks)
    with pytest.raises(Interrupted, match="stopped after step 7 of 7"):
        train(whole, stop=7)
    made = members(tmp_path, tasks, resume=True)
    ended = train(made)
    assert [ended[each.key].resumed_from for each in made] == [7, 7]
    assert [ended[each.key].seconds for each in made] == [0.0, 0.0]
    assert ended["c0"].history["step"] == [1, 2, 3, 4, 5, 6, 7]


def test_cells_after_different_numbers_of_steps_are_refused(tmp_path: Path) -> None:
    tasks = [task(index) for index in range(2)]
    with pytest.raises(Interrupted):
        train(members(tmp_path, tasks)[:1], stop=2)
    with pytest.raises(ValueError, match="after equally many steps"):
        train(members(tmp_path, tasks, resume=True))
    with pytest.raises(ValueError, match="of one kind"):
        train(members(tmp_path / "b", [task(0), task(1, dropout=0.2)]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Bursting(FewShot):
    """The same, but that of one resample the frames are no numbers after a step."""

    resample: int
    after: int

    def batch(self, seed: int, step: int, shard: Shard) -> Blocks:
        blocks = FewShot.batch(self, seed, step, shard)
        if self.subset.resample == self.resample and step >= self.after:
            return blocks._replace(frames_TBD=blocks.frames_TBD * float("inf"))
        return blocks

    def together(self) -> str:
        return "bursting"


def bursting(each: FewShot, *, after: int) -> Bursting:
    return Bursting(
        subset=each.subset, encoder=each.encoder, dropout=0.0, schedule=each.schedule, resample=1, after=after
    )  # fmt: skip


def test_one_that_diverges_ends_with_its_own_sentence_and_the_others_go_on(
    ranks: Ranks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "MOST_OF_THE_TIME", 1e12)  # saved after every step
    tasks = [bursting(task(index), after=3) for index in range(3)]
    made = members(tmp_path / "together", tasks)
    ended = train(made, every=-1.0)
    with pytest.raises(DivergedError) as raised:
        alone(tasks[1], 1, ranks, tmp_path / "alone1", every=-1.0)
    assert isinstance(ended["c1"], DivergedError)
    assert str(ended["c1"]) == str(raised.value)
    assert "at step 4 of 7" in str(raised.value)
    assert str(raised.value).endswith("the last good checkpoint is checkpoint-000000003.pt")
    assert not [path for path in checkpoints(tmp_path / "together") if path > "1/checkpoint-000000003.pt" and path < "2"]  # fmt: skip
    for index in (0, 2):
        model, trained = alone(tasks[index], index, ranks, tmp_path / f"alone{index}")
        assert ended[f"c{index}"].history["loss"] == pytest.approx(
            trained.history["loss"], rel=1e-5
        )
        assert_same(model, made[index].model, rtol=1e-3, atol=1e-5)


def test_when_all_diverge_each_says_so(tmp_path: Path) -> None:
    tasks = [bursting(task(1), after=0), bursting(task(1), after=0)]
    ended = train(members(tmp_path, tasks))
    assert all(isinstance(each, DivergedError) for each in ended.values())
    assert len(ended) == 2


def test_checkpoints_on_the_way_alter_nothing(tmp_path: Path) -> None:
    tasks = [task(index) for index in range(2)]
    quiet, saving = members(tmp_path / "a", tasks), members(tmp_path / "b", tasks)
    train(quiet)
    train(saving, every=-1.0)
    assert not checkpoints(tmp_path / "a")
    assert len(checkpoints(tmp_path / "b")) == 2 * checkpoint.KEEP
    for one, other in zip(quiet, saving, strict=True):
        assert_same(one.model, other.model, rtol=0, atol=0)


def test_no_steps_leave_models_as_built(tmp_path: Path) -> None:
    nothing = replace(ADAMW, steps=0, warmup_steps=0)
    made = members(tmp_path, [task(index, nothing) for index in range(2)])
    ended = train(made)
    assert ended["c1"].history["step"] == []
    assert_same(built(made[1].task, 1), made[1].model, rtol=0, atol=0)


class Plain(torch.nn.GRU):
    """An encoder of a user's own."""

    def __init__(self, frame_size: int) -> None:
        super().__init__(frame_size, 4)

    def forward(self, frames_TBD: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        states_TBH: torch.Tensor = super().forward(frames_TBD)[0]
        return states_TBH


def test_cells_that_differ_in_what_is_drawn_may_be_trained_together_and_no_others() -> None:
    kind = task(0).together()
    assert kind
    assert task(3).together() == kind  # another resample, and other shots
    for other in (
        task(0, SGD),
        task(0, dropout=0.2),
        task(0, encoder=LSTM(units=8, layers=2)),
        task(0, block=8),
        task(0, stride=4),
    ):
        assert other.together() not in ("", kind)
    assert task(0, encoder=own(Plain)).together() == ""
    as_own = InDouble(
        subset=task(0).subset, encoder=LSTM(units=7, layers=2), dropout=0.3, schedule=ADAMW
    )
    assert FewShot.together(as_own) == ""  # a task of a user's own may compute anything
