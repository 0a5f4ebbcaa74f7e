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
from harness.together import Member
from slurm.ddp import Ranks, joined
from slurm.local import free_port, torchrun_environment
from tasks.data.digits import Digits
from tasks.encoders import LSTM
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
        for name, value in torchrun_environment(0, 1, free_port()).items():
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
) -> tuple[torch.nn.Module, Trained]:
    folder.mkdir(parents=True, exist_ok=True)
    model = built(each, index, double=double)
    trained = loop.train(
        each, model, cell=f"c{index}", seed=index, ranks=ranks, folder=folder, earlier=[folder],
        should_stop=stop_after(stop), on_step=lambda step, steps: None, checkpoint_every_s=1e9,
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
    tasks = [in_double(task(index, schedule)) for index in range(3)]
    made = members(tmp_path / "together", tasks, double=True)
    ended = train(made)
    for index, each in enumerate(tasks):
        model, trained = alone(each, index, ranks, tmp_path / f"alone{index}", double=True)
        assert_same(model, made[index].model, rtol=1e-10, atol=1e-12)
        for name in ("step", "loss", "learning_rate"):
            assert ended[f"c{index}"].history[name] == pytest.approx(
                trained.history[name], rel=1e-12
            )
