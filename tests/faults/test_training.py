"""Numbers that are not finite end a cell before they are kept; checkpoints that cannot be gone on from are passed over."""

import hashlib
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from configs.optimisers import as_in_2015
from harness import checkpoint, fitting, loop, result, soundness, status, together
from harness import plan as planning
from harness.soundness import DivergedError, Seen
from harness.together import Member
from slurm.ddp import Ranks
from slurm.job import Interrupted
from tasks.cell import Cell
from tasks.data.digits import Digits
from tasks.encoders import LSTM
from tasks.fewshot import FewShot
from tasks.schedule import Schedule
from tasks.subset import Subset
from tests.harness.test_group import Bench

ADAMW = Schedule(steps=7, batch_size=4, learning_rate=1e-2, clip_norm=6.0, weight_decay=0.01)
SGD = replace(ADAMW, optimizer="sgd", learning_rate=1e-3)
SCHEDULES = {
    "adamw": ADAMW,
    "adamw, unclipped": replace(ADAMW, clip_norm=None),
    "sgd, unclipped": replace(SGD, clip_norm=None),
    # A velocity is clamped, and an infinite gradient with it: nothing of it would be seen in the weights.
    "as in 2015": as_in_2015(7, 4),
}
ALONE = Ranks(rank=0, num_ranks=1, device=torch.device("cpu"))


@pytest.fixture(autouse=True, scope="module")
def _saves_as_often_as_asked() -> Iterator[None]:
    """However long writing takes on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "MOST_OF_THE_TIME", 1e12)
        yield


class _Spoilt(torch.autograd.Function):
    """As it is forward; what it is given backward is replaced."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(by)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (by,) = ctx.saved_tensors
        return gradients[0] * by, None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsound(FewShot):
    """The same, but that the loss or the gradients of one resample are no numbers at one step, while a file is there."""

    flag: str
    at: int
    """Counted from 1."""
    kind: str
    """loss or gradient, and nan or inf."""
    resample: int = 0

    def spoils(self, step: int) -> bool:
        return (
            self.subset.resample == self.resample
            and step == self.at - 1
            and Path(self.flag).exists()
        )

    @property
    def more(self) -> float:
        """Added to the loss, of which the gradient knows nothing."""
        return float(self.kind.split()[1]) if self.kind.startswith("loss") else 0.0

    @property
    def factor(self) -> float:
        """Of the gradient, of which the loss knows nothing."""
        return float(self.kind.split()[1]) if self.kind.startswith("gradient") else 1.0

    def batch(self, seed: int, step: int, shard: Any) -> Any:
        drawn = FewShot.batch(self, seed, step, shard)
        STEP[0] = step
        return drawn

    def loss(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
        whole = FewShot.loss(self, model, batch)
        if not self.spoils(STEP[0]):
            return whole
        return _Spoilt.apply(whole + self.more, torch.tensor(self.factor))  # type: ignore[no-any-return,no-untyped-call]

    def losses(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
        whole_R = FewShot.losses(self, model, batch)
        if not (STEP[0] == self.at - 1 and Path(self.flag).exists()):
            return whole_R
        of_one_R = torch.arange(len(whole_R)) == self.resample
        more_R, factor_R = (
            torch.where(of_one_R, self.more, 0.0),
            torch.where(of_one_R, self.factor, 1.0),
        )
        return _Spoilt.apply(whole_R + more_R, factor_R)  # type: ignore[no-any-return,no-untyped-call]

    def together(self) -> str:
        return "unsound"


STEP = [0]


def plain(resample: int = 0, schedule: Schedule = ADAMW) -> FewShot:
    return FewShot(
        subset=Subset(dataset=Digits(), split=1, shots=1, resample=resample),
        encoder=LSTM(units=6, layers=1),
        dropout=0.2,
        schedule=schedule,
    )


def unsound(task: FewShot, flag: Path, *, at: int, kind: str, resample: int = 0) -> Unsound:
    flag.touch()
    own = {each.name: getattr(task, each.name) for each in fields(task)}
    return Unsound(**own, flag=str(flag), at=at, kind=kind, resample=resample)


def train(task: FewShot, folder: Path, *, every: float = 1e9, stop: int = 0) -> Any:
    folder.mkdir(exist_ok=True)
    model, asked = task.build(0, ()), iter(range(1, 10_000))
    trained = loop.train(
        task, model, cell="c", seed=0, ranks=ALONE, folder=folder, earlier=[folder],
        should_stop=lambda: next(asked) == stop, on_step=lambda step, steps: None, checkpoint_every_s=every,
    )  # fmt: skip
    return model, trained


def steps_saved(folder: Path) -> list[int]:
    return sorted(int(path.stem[-9:]) for path in folder.glob("checkpoint-*.pt"))


def assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("kind", ["loss nan", "loss inf", "gradient nan", "gradient inf"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_number_that_is_not_finite_ends_the_cell_and_the_next_attempt_recovers(
    schedule: Schedule, kind: str, tmp_path: Path
) -> None:
    task = unsound(plain(schedule=schedule), tmp_path / "flag", at=4, kind=kind)
    with pytest.raises(DivergedError) as told:
        train(task, tmp_path / "cell", every=-1.0)
    text = str(told.value)
    assert "at step 4 of 7: lower the learning rate" in text
    assert text.endswith("; the last good checkpoint is checkpoint-000000003.pt")
    assert kind.split()[1] in text or "nan" in text
    assert steps_saved(tmp_path / "cell") == [2, 3]
    (tmp_path / "flag").unlink()  # it does not happen again
    resumed, trained = train(task, tmp_path / "cell")
    whole, undisturbed = train(task, tmp_path / "whole")
    assert trained.resumed_from == 3
    assert trained.history["loss"] == undisturbed.history["loss"]
    assert_same(whole, resumed)


@pytest.mark.parametrize("at", [2, 3, 4])
def test_the_step_is_named_though_nothing_looks_before_the_next_point_or_save(
    at: int, tmp_path: Path
) -> None:
    schedule = replace(ADAMW, steps=400)  # a point every 4 steps
    task = unsound(plain(schedule=schedule), tmp_path / "flag", at=at, kind="gradient inf")
    with pytest.raises(DivergedError, match=f" at step {at} of 400: .* there is no checkpoint"):
        train(task, tmp_path / "cell")
    with pytest.raises(DivergedError, match=f" at step {at} of 400"):
        train(task, tmp_path / "asked to stop", stop=at)
    assert steps_saved(tmp_path / "asked to stop") == []


def test_weights_that_a_last_step_makes_infinite_are_neither_kept_nor_scored(
    tmp_path: Path,
) -> None:
    """The loss and the gradient were finite: nothing but the weights themselves tells."""
    steep = replace(SGD, steps=1, learning_rate=1e38, clip_norm=None)
    for every in (1e9, -1.0):
        with pytest.raises(DivergedError, match=r"is not finite after step 1 of 1: .* no checkpoint"):  # fmt: skip
            train(plain(schedule=replace(steep, learning_rate=3e38)), tmp_path / "cell", every=every)  # fmt: skip
        assert steps_saved(tmp_path / "cell") == []


class Reads(TorchDispatchMode):
    """Counts how often a number is read off a device."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("clip_norm", [6.0, None], ids=["clipped", "unclipped"])
def test_no_step_reads_a_number_between_points(
    clip_norm: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def look(self: Seen) -> Any:
        looks.append(len(self._losses))
        return LOOK(self)

    monkeypatch.setattr(Seen, "look", look)
    task = plain(schedule=replace(ADAMW, steps=300, batch_size=1, clip_norm=clip_norm))
    with Reads() as reads:
        train(task, tmp_path / "cell")
    assert looks == [3] * 100
    # A size that clipping does not need is read at once on a CPU, where that waits for nothing.
    if clip_norm is not None:
        assert reads.number < 50  # of the weights, once, at the end


LOOK = Seen.look


def test_what_is_kept_unread_is_bounded(tmp_path: Path) -> None:
    seen = Seen([0.0])
    for number in range(soundness.MOST_UNREAD):
        assert not seen.full
        seen.note(torch.tensor(float(number)), torch.tensor(1.0))
    assert seen.full
    assert seen.look().first_unsound() is None
    assert not seen.full
    assert seen.total_R == [sum(range(soundness.MOST_UNREAD))]


def test_loops_look_before_more_is_unread_than_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a long training without points or saves would fill a device with what its steps have seen."""
    looks: list[int] = []

    def look(self: Seen) -> Any:
        looks.append(len(self._losses))
        return LOOK(self)

    monkeypatch.setattr(Seen, "look", look)
    monkeypatch.setattr(soundness, "MOST_UNREAD", 3)
    task = plain(schedule=replace(ADAMW, steps=400))  # a point every 4 steps
    train(task, tmp_path / "cell")
    assert looks == [3, 1] * 100
    looks.clear()
    together.train(
        [member(0, task, tmp_path)], device=torch.device("cpu"), should_stop=lambda: False,
        on_step=lambda step, steps: None,
    )  # fmt: skip
    assert looks == [3, 1] * 100


def test_a_sum_does_not_depend_on_when_it_is_looked_at() -> None:
    losses = torch.rand(50, generator=torch.Generator().manual_seed(0)) * 1e3
    wanted = torch.zeros((), dtype=torch.float64)
    for each in losses:
        wanted += each
    for every in (1, 7, 50):
        seen = Seen([0.0])
        for number, each in enumerate(losses, 1):
            seen.note(each, each)
            if number % every == 0 or number == 50:
                seen.look()
        assert seen.total_R == [float(wanted)]


def test_a_size_is_finite_if_and_only_if_every_number_is() -> None:
    nan, inf = float("nan"), float("inf")
    huge = torch.tensor([3e38, -3e38])  # the sum of their squares is beyond float32
    assert soundness.is_finite([huge, torch.zeros(0), torch.tensor([2**40])])
    assert soundness.is_finite([torch.tensor([1 + 2j])])
    for bad in (nan, inf, -inf, complex(0, inf)):
        assert not soundness.is_finite([torch.ones(3), torch.tensor([1.0, bad, 1.0])])
    stacked = torch.tensor([[1.0, 2.0], [3e38, 3e38], [nan, 1.0], [inf, 1.0], [1.0, -inf]])
    found = soundness.sizes([stacked, torch.ones(5)])
    assert found.isfinite().tolist() == [True, True, False, False, False]


def test_a_sparse_gradient_has_a_size_too() -> None:
    """As an encoder's nn.Embedding may give."""
    weight = torch.zeros(5, 2, requires_grad=True)
    for factor, expected in ((3.0, 6.0), (float("inf"), float("inf"))):
        weight.grad = None
        found = torch.nn.functional.embedding(torch.tensor([1, 1]), weight, sparse=True)
        (found[:, 0].sum() * factor).backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        assert float(soundness.size_of_gradient([weight], None)) == expected


WORKER = """
import json, sys
from pathlib import Path
import torch
sys.path[:0] = [{root!r}]
from harness import checkpoint, loop
from slurm.ddp import joined
from tests.faults.test_training import plain, unsound

torch.set_num_threads(1)
checkpoint.MOST_OF_THE_TIME = 1e12
folder = Path(sys.argv[1])
with joined() as ranks:
    told = {{}}
    for kind in ("loss inf", "gradient nan"):
        task = unsound(plain(), folder / f"flag{{ranks.rank}}", at=4, kind=kind)
        if ranks.is_first:
            Path(task.flag).unlink()  # the other one alone meets it
        own = folder / kind
        own.mkdir(exist_ok=True)
        try:
            loop.train(
                task, task.build(0, ()), cell="c", seed=0, ranks=ranks, folder=own, earlier=[own],
                should_stop=lambda: False, on_step=lambda step, steps: None, checkpoint_every_s=-1.0,
            )
        except loop.DivergedError as error:
            told[kind] = str(error)
    everyone = ranks.gather(told)
    if ranks.is_first:
        (folder / "told.json").write_text(json.dumps(everyone))
"""


def test_what_one_rank_alone_meets_ends_the_cell_on_all_with_the_same_words(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(WORKER.format(root=str(Path(__file__).parents[2])))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = json.loads((tmp_path / "told.json").read_text())
    assert first == second
    assert first["loss inf"].startswith("the loss is inf and the size of its gradient ")
    assert "the size of its gradient nan" in first["gradient nan"]
    for kind, text in first.items():
        assert "at step 4 of 7" in text
        assert text.endswith("the last good checkpoint is checkpoint-000000003.pt")
        assert steps_saved(tmp_path / kind) == [2, 3]


def member(index: int, task: FewShot, folder: Path) -> Member:
    own = folder / str(index)
    own.mkdir(parents=True)
    return Member(key=f"c{index}", task=task, seed=index, model=task.build(index, ()), folder=own)


@pytest.mark.parametrize("kind", ["loss inf", "gradient nan", "gradient inf"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_of_cells_trained_together_the_unsound_one_ends_and_no_other_bit_alters(
    schedule: Schedule, kind: str, tmp_path: Path
) -> None:
    def all_three(name: str) -> tuple[list[Member], Mapping[str, Any]]:
        # Which replica is spoilt is told by its place, which is the resample.
        made = [
            member(index, unsound(plain(index, schedule), tmp_path / "flag", at=4, kind=kind, resample=1), tmp_path / name)
            for index in range(3)
        ]  # fmt: skip
        if name == "sound":
            (tmp_path / "flag").unlink()
        ended = together.train(
            made, device=torch.device("cpu"), should_stop=lambda: False, on_step=lambda step, steps: None,
            checkpoint_every_s=-1.0,
        )  # fmt: skip
        return made, ended

    spoilt, ended = all_three("spoilt")
    sound, undisturbed = all_three("sound")
    text = str(ended["c1"])
    assert isinstance(ended["c1"], DivergedError)
    assert "at step 4 of 7" in text
    assert text.endswith("the last good checkpoint is checkpoint-000000003.pt")
    assert [steps_saved(each.folder) for each in spoilt] == [[6, 7], [2, 3], [6, 7]]
    for index in (0, 2):
        assert_same(sound[index].model, spoilt[index].model)
        assert ended[f"c{index}"].history["loss"] == undisturbed[f"c{index}"].history["loss"]


def test_together_weights_that_a_step_makes_infinite_end_their_cell_alone(tmp_path: Path) -> None:
    made = [member(index, plain(index), tmp_path) for index in range(2)]
    stack = together._Stack.of(made, [], torch.device("cpu"))
    name, first = next(iter(stack.model.named_parameters()))
    assert soundness.unsound_parts(stack.model, stack.optimizer) == ["", ""]
    with torch.no_grad():
        first[1].view(-1)[0] = float("inf")
    assert soundness.unsound_parts(stack.model, stack.optimizer) == ["", name]


def rewritten(path: Path, change: Callable[[dict[str, Any]], object], to: Path) -> None:
    """A checkpoint as somebody else's code would have written it: altered, with the checksum that fits."""
    loaded = torch.load(io.BytesIO(path.read_bytes()[32:]), weights_only=True)
    changed = change(loaded)
    buffer = io.BytesIO()
    torch.save(loaded if changed is None else changed, buffer)
    to.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())


def _renamed(loaded: dict[str, Any]) -> None:
    weights = loaded["state"]["model"]
    name = next(iter(weights))
    weights[f"old_{name}"] = weights.pop(name)


def _weights(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[str, Any]], None]:
    def changed(loaded: dict[str, Any]) -> None:
        weights = loaded["state"]["model"]
        weights.update({name: change(each) for name, each in weights.items()})

    return changed


def _of_optimizer(
    change: Callable[[dict[str, Any]], object],
) -> Callable[[dict[str, Any]], None]:
    def changed(loaded: dict[str, Any]) -> None:
        for each in loaded["state"]["optimizer"]["state"].values():
            change(each)

    return changed


def _set(place: str, value: object) -> Callable[[dict[str, Any]], None]:
    def changed(loaded: dict[str, Any]) -> None:
        *path, last = place.split(".")
        for name in path:
            loaded = loaded[name]
        loaded[last] = value

    return changed


UNFIT: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a part renamed": (_renamed, "it has no .*: it is of another model"),
    "a part more": (_set("state.model.more", torch.zeros(2)), "has an unknown more: it is of another model"),
    "other shapes": (_weights(lambda each: each[..., :1].clone()), "has shape .* it is of another model"),
    "other precision": (_weights(lambda each: each.double()), "is of torch.float64, and the model's of torch.float32"),
    "weights that are no numbers": (_weights(lambda each: each * float("nan")), "is not finite"),
    "no tensors": (_set("state.model", {}), "it has no "),
    "no model": (lambda loaded: loaded["state"].pop("model") and None, "it has no model"),
    "no optimiser": (lambda loaded: loaded["state"].pop("optimizer") and None, "it has no optimizer"),
    "no sum": (lambda loaded: loaded["state"].pop("totals") and None, "it has no totals"),
    "another optimiser": (
        _of_optimizer(lambda each: each.update(velocity=each.pop("exp_avg"))), "remembers exp_avg_sq, step, velocity, and this one"
    ),
    "an optimiser's state of other shapes": (
        _of_optimizer(lambda each: each.update(exp_avg=torch.zeros(3, 2, 1))), r"optimiser's exp_avg has shape \(3, 2, 1\)"
    ),
    "an optimiser's state that is no number": (
        _of_optimizer(lambda each: each.update(exp_avg=each["exp_avg"] * float("inf"))), "optimiser's exp_avg is not finite"
    ),
    "an optimiser of fewer weights": (
        lambda loaded: loaded["state"]["optimizer"]["param_groups"][0]["params"].pop() and None, "its optimiser moves other weights"
    ),
    "another weight decay": (
        lambda loaded: loaded["state"]["optimizer"]["param_groups"][0].update(weight_decay=0.5), "weight_decay 0.5, and this one 0.01"
    ),
    "a step beyond": (_set("step", 8), "it is of step 8, and training has 7"),
    "a curve with other columns": (_set("state.history", {"step": [], "loss": []}), "its curve is not of"),
    "a curve with a hole": (_set("state.history.loss", []), "its curve has columns of different lengths"),
    "a sum that is no number": (_set("state.totals", [float("nan")]), "not made of finite numbers"),
    "steps since a point": (_set("state.since", -1), "counts -1 steps"),
    "another format": (_set("format", 99), "it has format 99, of another version; this one reads format 1"),
    "another cell": (_set("cell", "d"), "it belongs to cell d"),
    "a list": (lambda loaded: [loaded], "it is no checkpoint of this program"),
    "a tensor": (lambda loaded: torch.zeros(3), "it is no checkpoint of this program"),
    "no state": (_set("state", None), "it holds no state of a training"),
}  # fmt: skip


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with checkpoints after 2 and 3 of 7 steps."""
    folder = tmp_path_factory.mktemp("cut")
    with pytest.raises(Interrupted):
        train(plain(), folder, every=-1.0, stop=3)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train(plain(), tmp_path_factory.mktemp("whole"))


def copied(cut: Path, folder: Path, *steps: int) -> None:
    folder.mkdir()
    for step in steps:
        (folder / checkpoint.name(step)).write_bytes((cut / checkpoint.name(step)).read_bytes())


@pytest.mark.parametrize(("change", "why"), UNFIT.values(), ids=UNFIT)
def test_a_whole_checkpoint_that_does_not_fit_is_passed_over_aloud_for_the_one_before(
    change: Callable[[dict[str, Any]], object],
    why: str,
    cut: Path,
    whole: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    copied(cut, tmp_path / "cell", 2)
    bad = tmp_path / "cell" / checkpoint.name(3)
    rewritten(cut / checkpoint.name(3), change, bad)
    model, trained = train(plain(), tmp_path / "cell")
    assert trained.resumed_from == 2
    (told,) = trained.passed_over
    assert told.startswith(f"cell/{bad.name} was passed over: it")
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(told)
    assert f"{bad} is passed over" in caplog.text
    assert trained.history["loss"] == whole[1].history["loss"]
    assert_same(whole[0], model)


def test_where_no_checkpoint_fits_training_begins_anew_and_says_so(
    cut: Path, whole: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cell").mkdir()
    for step in (2, 3):
        rewritten(cut / checkpoint.name(step), _renamed, tmp_path / "cell" / checkpoint.name(step))
    model, trained = train(plain(), tmp_path / "cell")
    assert trained.resumed_from == 0
    assert len(trained.passed_over) == 2
    assert "no checkpoint of cell c can be gone on from: training begins anew" in caplog.text
    assert_same(whole[0], model)


def test_checkpoints_from_before_they_had_a_format_are_gone_on_from(
    cut: Path, whole: Any, tmp_path: Path
) -> None:
    def before(loaded: dict[str, Any]) -> None:
        del loaded["format"], loaded["torch"]
        state = loaded["state"]
        state["total"] = torch.tensor(sum(state.pop("totals")), dtype=torch.float64)

    (tmp_path / "cell").mkdir()
    rewritten(cut / checkpoint.name(3), before, tmp_path / "cell" / checkpoint.name(3))
    model, trained = train(plain(), tmp_path / "cell")
    assert (trained.resumed_from, trained.passed_over) == (3, ())
    assert_same(whole[0], model)


def test_a_checkpoint_cut_or_altered_anywhere_is_passed_over(cut: Path, tmp_path: Path) -> None:
    copied(cut, tmp_path / "cell", 2)
    content = (cut / checkpoint.name(3)).read_bytes()
    bad, chance = tmp_path / "cell" / checkpoint.name(3), np.random.default_rng(0)
    for number in range(200):
        place, bit = int(chance.integers(len(content))), 1 << int(chance.integers(8))
        if number % 2:
            bad.write_bytes(content[:place])
        else:
            bad.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        passed: list[str] = []
        found = checkpoint.newest([bad.parent], cell="c", passed=passed)
        assert found is not None
        assert found[0] == 2
        assert passed == [f"cell/{bad.name} was passed over: it is cut short or altered"]


def test_anything_with_a_right_checksum_is_passed_over_if_it_is_no_checkpoint(
    cut: Path, tmp_path: Path
) -> None:
    """Whoever can write a file can write its checksum: bits that alter what is inside must raise nothing else, and run nothing."""
    task = plain()
    fits = fitting.to_resume(task.build(0, ()), 7, lambda model: loop.build_optimizer(ADAMW, model))
    copied(cut, tmp_path / "cell", 2)
    content = (cut / checkpoint.name(3)).read_bytes()[32:]
    bad, chance = tmp_path / "cell" / checkpoint.name(3), np.random.default_rng(1)
    found_at = set()
    for number in range(200):
        place, bit = int(chance.integers(len(content))), 1 << int(chance.integers(8))
        altered = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
        altered = content[:place] if number % 4 == 0 else altered
        bad.write_bytes(hashlib.sha256(altered).digest() + altered)
        found = checkpoint.newest([bad.parent], cell="c", check=fits)
        assert found is not None
        found_at.add(found[0])
    assert found_at <= {2, 3}
    assert 2 in found_at


@pytest.mark.parametrize("thing", ["folder", "dangling link", "link to itself"])
def test_what_is_no_file_is_passed_over(thing: str, cut: Path, tmp_path: Path) -> None:
    copied(cut, tmp_path / "cell", 2)
    bad = tmp_path / "cell" / checkpoint.name(3)
    if thing == "folder":
        bad.mkdir()
    else:
        bad.symlink_to(tmp_path / "nothing" if thing == "dangling link" else bad)
    found = checkpoint.newest([bad.parent], cell="c")
    assert found is not None
    assert found[0] == 2


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    cells = [Cell(task=plain(index), seed=index, label="LSTM") for index in range(3)]
    yield Bench(tmp_path / "work", ALONE, cells)
    torch.set_num_threads(before)


def interrupted(bench: Bench, after: int) -> list[Path]:
    asked = iter(range(1, 10_000))
    with pytest.raises(Interrupted):
        bench.together(lambda: next(asked) >= after)
    return [
        next(bench.workdir.cell(cell).glob("attempt-*/checkpoint-*.pt")) for cell in bench.cells
    ]


def test_a_result_and_its_status_say_that_a_checkpoint_was_passed_over(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, _ = interrupted(bench, 2)
    rewritten(first, _renamed, first)
    bench.alone(bench.cells[0])
    bench.alone(bench.cells[1])
    del second
    told = bench.body(bench.cells[0])["provenance"]["passed_over"]
    assert told[0].startswith(f"{first.parent.name}/{first.name} was passed over: it has no ")
    assert "passed_over" not in bench.body(bench.cells[1])["provenance"]
    found = status.look(planning.of_cells(tuple(bench.cells), bench.workdir), bench.workdir, {})
    assert found[0].detail == f"{told[0]}; training began anew"
    assert found[1].detail == ""
    from harness.describe import print_status

    plan = planning.of_cells(tuple(bench.cells), bench.workdir)
    print_status("fig12", plan, found, status.count(found))
    assert "was passed over: it has no " in " ".join(capsys.readouterr().out.split())


def test_one_of_a_group_whose_checkpoint_does_not_fit_is_done_alone_and_the_others_go_on(
    bench: Bench,
) -> None:
    first, *_ = interrupted(bench, 3)
    rewritten(first, _renamed, first)
    bench.together()
    assert bench.ends() == ["done"] * 3
    starts = [bench.body(cell)["usage"]["resumed_from_step"] for cell in bench.cells]
    assert starts == [0, 3, 3]
    origins = [bench.body(cell)["provenance"] for cell in bench.cells]
    assert ["together" in each for each in origins] == [False, True, True]
    assert ["passed_over" in each for each in origins] == [True, False, False]


def test_a_cell_that_ended_so_says_in_its_folder_what_was_seen(
    tmp_path: Path,
) -> None:
    task = unsound(plain(), tmp_path / "flag", at=4, kind="gradient inf")
    bench = Bench(tmp_path / "work", ALONE, [Cell(task=task, label="LSTM")])
    with pytest.raises(DivergedError):
        bench.alone(bench.cells[0])
    why = result.failure(bench.workdir, bench.cells[0]) or ""
    assert why.startswith("DivergedError: the loss is ")
    assert "and the size of its gradient nan at step 4 of 7" in why
    (attempt,) = result.attempts(bench.workdir, bench.cells[0])
    assert not list(attempt.glob("checkpoint-*"))
    assert json.loads((attempt / "failure.json").read_bytes())["trace"]


def test_what_is_not_trained_may_be_infinite() -> None:
    """A mask that is a frozen parameter ends no cell."""
    model = nn.Linear(2, 2)
    model.register_parameter("mask", nn.Parameter(torch.full((2,), -math.inf), requires_grad=False))
    optimizer = torch.optim.SGD([model.weight, model.bias], lr=0.1)
    assert soundness.unsound_part(model, optimizer) == ""
    with torch.no_grad():
        model.bias[0] = math.nan
    assert soundness.unsound_part(model, optimizer) == "bias"
