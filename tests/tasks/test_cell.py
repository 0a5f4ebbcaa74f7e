"""What a cell's key is made of, and what it is not."""

import dataclasses
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest

from configs.fig12 import fig12
from tasks.cell import KEYED_UNLESS_DEFAULT, UNKEYED, Cell, canonical
from tasks.data.digits import Digits
from tasks.encoders import LSTM
from tasks.fewshot import FewShot
from tasks.pretrain import Pretrain
from tasks.schedule import Schedule
from tasks.single_frame import SingleFrame
from tasks.subset import Subset
from tasks.task import Shard

SCHEDULE = Schedule(steps=10, batch_size=4, learning_rate=1e-3)
ENCODER = LSTM(units=8, layers=1)
SUBSET = Subset(dataset=Digits(), split=1, shots=2, resample=3)
PRETRAIN = Pretrain(dataset=Digits(), encoder=ENCODER, schedule=SCHEDULE)
FEWSHOT = FewShot(subset=SUBSET, encoder=ENCODER, dropout=0.5, schedule=SCHEDULE)
SINGLE = SingleFrame(subset=SUBSET, schedule=SCHEDULE)


def test_keys_are_the_same_in_every_release() -> None:
    # A change here orphans finished results: raise the task's version instead, and say so in the release notes.
    assert (
        Cell(task=PRETRAIN).key
        == "4750e626f33883221c416ae414b514e2765664fd96942fa60cc538d09c2891dc"
    )
    assert (
        Cell(task=FEWSHOT, seed=3).key
        == "36f27693b46b3588825eced7e0e72b7b513fe02d7b70f63b57b0de90a57a34c5"
    )
    assert (
        Cell(task=FEWSHOT, seed=3, needs=(Cell(task=PRETRAIN),)).key
        == "109dd0efaccf2b89027d38e02529e623ea24f808512c42f240e9599270b9038e"
    )
    assert (
        Cell(task=SINGLE).key == "255d4f9247d6128b3b0ba7217fcc187323023b8f1933ada3b4f3399e8ab8fd10"
    )


def _other(value: Any) -> Any:
    """A valid value that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if value != 0.5 else 0.25
    others = {
        None: 3, "unconditioned": "conditional", "adamw": "sgd", "cosine": "constant", "float32": "bfloat16",
    }  # fmt: skip
    return others[value]


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for each in dataclasses.fields(value):
        inner = getattr(value, each.name)
        if dataclasses.is_dataclass(inner) and dataclasses.fields(inner):
            found += _leaves(inner, (*path, each.name))
        elif not dataclasses.is_dataclass(inner):
            found.append((*path, each.name))
    return found


def _changed(value: Any, path: tuple[str, ...]) -> Any:
    inner = getattr(value, path[0])
    new = _other(inner) if len(path) == 1 else _changed(inner, path[1:])
    return replace(value, **{path[0]: new})


UNKEYED_FIELDS = {("chunk",)}
"""Every field that is no part of the key, on purpose: a new one has to be added here by hand."""


@pytest.mark.parametrize("task", [PRETRAIN, FEWSHOT, SINGLE], ids=lambda task: type(task).__name__)
def test_every_field_alters_the_key_but_those_listed(task: Any) -> None:
    for path in _leaves(task):
        # A velocity is sgd's alone: a bound on it is compared with none, both with sgd.
        of_sgd = path == ("schedule", "clip_velocity")
        before = _changed(task, ("schedule", "optimizer")) if of_sgd else task
        key, altered = Cell(task=before).key, Cell(task=_changed(before, path)).key
        assert (altered == key) == (path in UNKEYED_FIELDS), path


def test_seed_and_needs_alter_the_key_and_the_label_does_not() -> None:
    cell = Cell(task=FEWSHOT)
    assert Cell(task=FEWSHOT, seed=1).key != cell.key
    assert Cell(task=FEWSHOT, needs=(Cell(task=PRETRAIN),)).key != cell.key
    assert Cell(task=FEWSHOT, label="another name") == cell


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_a_seed_that_generators_cannot_take_is_refused(seed: int) -> None:
    sentence = rf"^seed={seed}: a seed is a whole number from 0 to 4,294,967,295$"
    with pytest.raises(ValueError, match=sentence):
        Cell(task=PRETRAIN, seed=seed)


def test_the_first_and_the_last_seed_make_a_model_and_a_batch() -> None:
    for seed in (0, 2**32 - 1):
        cell = Cell(task=PRETRAIN, seed=seed)
        assert sum(each.numel() for each in cell.task.build(cell.seed, ()).parameters()) > 0
        batch = cell.task.batch(cell.seed, 0, Shard())
        assert batch.frames_TBD.shape[1] == SCHEDULE.batch_size


def test_a_change_in_a_needed_cell_alters_the_key() -> None:
    longer = replace(PRETRAIN, schedule=replace(SCHEDULE, steps=11))
    first, second = (Cell(task=FEWSHOT, needs=(Cell(task=task),)) for task in (PRETRAIN, longer))
    assert first.key != second.key


def test_the_version_of_a_task_and_of_its_data_is_in_the_key() -> None:
    described = canonical(FEWSHOT)
    assert described["version"] == FewShot.version
    assert described["subset"]["dataset"] == {"class": "Digits", "version": Digits.version}


def test_values_without_an_identity_are_refused() -> None:
    @dataclass(frozen=True)
    class Holder:
        version: ClassVar[int] = 1
        value: Any

    with pytest.raises(ValueError, match="must be finite numbers"):
        canonical(Holder(float("nan")))
    with pytest.raises(ValueError, match="of type function cannot be part of a cell"):
        canonical(Holder(lambda: None))


def test_an_unkeyed_field_may_hold_anything() -> None:
    @dataclass(frozen=True)
    class Holder:
        value: Any = field(metadata=UNKEYED)

    assert canonical(Holder(print)) == {"class": "Holder"}


def test_every_cell_of_the_demo_is_unique_and_needs_come_first() -> None:
    cells = fig12().all_cells()
    assert len({cell.key for cell in cells}) == len(cells)
    assert len({cell.short for cell in cells}) == len(cells)
    place = {cell.key: index for index, cell in enumerate(cells)}
    assert all(place[need.key] < place[cell.key] for cell in cells for need in cell.needs)
    assert sum(isinstance(cell.task, Pretrain) for cell in cells) == 1


@dataclass(frozen=True)
class Part:
    """Equal to others whatever its note, which belongs to a key all the same."""

    value: int = 0
    note: str = field(default="", compare=False)


@dataclass(frozen=True)
class Whole:
    first: int
    later: tuple[int, ...] = field(default_factory=lambda: (1, 2), metadata=KEYED_UNLESS_DEFAULT)
    part: Part = field(default=Part(), metadata=KEYED_UNLESS_DEFAULT)


def test_a_later_field_is_left_out_at_its_default_however_that_is_made() -> None:
    assert canonical(Whole(3)) == {"class": "Whole", "first": 3}
    assert canonical(Whole(3, later=(1, 2), part=Part())) == {"class": "Whole", "first": 3}
    assert canonical(Whole(3, later=(1,)))["later"] == [1]


def test_a_later_field_is_keyed_by_all_that_is_keyed_of_it() -> None:
    assert Whole(3, part=Part(note="other")) == Whole(3)
    assert canonical(Whole(3, part=Part(note="other"))) != canonical(Whole(3))


def test_a_later_field_without_a_default_is_refused() -> None:
    @dataclass(frozen=True)
    class Holder:
        value: int = field(metadata=KEYED_UNLESS_DEFAULT)

    with pytest.raises(TypeError, match=r"Holder\.value is marked KEYED_UNLESS_DEFAULT and has no"):
        canonical(Holder(3))


@pytest.mark.parametrize("mark", ["unless-default", "no", None, 0, 1.5])
def test_a_mark_that_says_nothing_is_refused(mark: object) -> None:
    @dataclass(frozen=True)
    class Holder:
        value: int = field(default=3, metadata={"key": mark})

    with pytest.raises(TypeError, match=r"Holder\.value is marked .*: mark it UNKEYED, KEYED_UNL"):
        canonical(Holder())


def test_a_version_that_is_a_field_is_the_values_own() -> None:
    @dataclass(frozen=True)
    class Holder:
        version: int = 1

    assert canonical(Holder(2)) == {"class": "Holder", "version": 2}
    assert canonical(Holder()) == {"class": "Holder", "version": 1}


def test_names_that_would_be_one_in_json_are_refused() -> None:
    assert canonical({"1": 2}) == {"1": 2}
    with pytest.raises(ValueError, match="1 cannot name a value of a cell: the keys of a mapping"):
        canonical({1: 2})
