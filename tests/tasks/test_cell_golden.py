"""Golden files of identity: no key changes unseen, and no field comes without a word on what it is to a key."""

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from configs.registry import EXPERIMENTS
from tasks.cell import Cell, canonical
from tasks.convnets import raw_pixels
from tasks.data.glyphs import Glyphs
from tasks.data.moving_digits import TestFile as OfTestFile
from tasks.encoders import LSTM, Own
from tasks.registry import TASKS
from tasks.schedule import Schedule
from tasks.single_frame import SingleFrame
from tasks.subset import Subset
from tasks.weights_told import LabelsSeen
from tests.golden import shelf

GOLDEN_KEYS: dict[str, list[str]] = json.loads(shelf.KEYS.read_text())
GOLDEN_FIELDS: dict[str, dict[str, str]] = json.loads(shelf.FIELDS.read_text())
AGAIN = "`python -m tests.golden.shelf` writes it anew"


@pytest.fixture(scope="module")
def shelved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, tuple[Cell, ...]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_DATA", str(tmp_path_factory.mktemp("data")))
        shelf.make_set()
        yield shelf.shelved()


def test_every_registered_experiment_has_its_keys_in_the_golden_file() -> None:
    assert {words.split()[0] for words in GOLDEN_KEYS} == set(EXPERIMENTS)
    assert all(GOLDEN_KEYS.values())


def test_no_key_of_any_registered_experiment_has_changed(
    shelved: Mapping[str, tuple[Cell, ...]],
) -> None:
    found = shelf.keys(shelved)
    assert list(found) == list(GOLDEN_KEYS), f"tests/golden/keys.json is of others: {AGAIN}"
    changed = {words: sorted(set(GOLDEN_KEYS[words]) - set(found[words])) for words in found}
    told = "; ".join(f"{words}: {len(keys)} of {len(GOLDEN_KEYS[words])}, such as {keys[0]}" for words, keys in changed.items() if keys)  # fmt: skip
    assert not told, (
        f"these cells have other keys than in the release before, and finished results of them would not be found ({told}). A "
        "field that came is marked KEYED_UNLESS_DEFAULT or UNKEYED; a task whose answers altered has a higher version, which "
        f"the release notes tell. Then {AGAIN}"
    )
    assert found == GOLDEN_KEYS, f"there are new cells: {AGAIN}"


def test_keys_do_not_depend_on_where_data_lies(
    shelved: Mapping[str, tuple[Cell, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "elsewhere ü;'"))
    (tmp_path / "elsewhere ü;'").mkdir()
    shelf.make_set()
    assert shelf.keys(shelf.shelved()) == shelf.keys(shelved)


def test_every_field_that_a_cell_can_hold_is_listed_with_what_it_is_to_a_key() -> None:
    found = shelf.fields()
    for name in found.keys() | GOLDEN_FIELDS.keys():
        own, listed = found.get(name), GOLDEN_FIELDS.get(name)
        assert own == listed, (
            f"{name} has {own}, and tests/golden/fields.json {listed}: say of every field whether it is part of a cell's key. "
            "One that came later is marked KEYED_UNLESS_DEFAULT, so that the keys from before it stay, or UNKEYED, if it "
            f"cannot alter an answer. Then {AGAIN}"
        )


def test_no_two_of_them_have_one_name() -> None:
    """A key knows a class by its name alone."""
    names = [kind.__name__ for kind in shelf.reachable()]
    assert len(names) == len(set(names))


def test_all_tasks_and_all_that_cells_hold_are_listed(
    shelved: Mapping[str, tuple[Cell, ...]],
) -> None:
    assert set(TASKS.values()) <= GOLDEN_FIELDS.keys()
    held = {type(each) for cells in shelved.values() for cell in cells for each, _ in _held(cell)}
    assert {f"{kind.__module__}:{kind.__name__}" for kind in held} <= GOLDEN_FIELDS.keys()


OTHERS: tuple[Any, ...] = (
    Own(name="Mine", code="0" * 64, arguments=(("size", 3),), factory=LSTM),
    Glyphs(name="mnist", side=28, num_train=6, num_test=1, train_sha256="1" * 64, test_sha256="2" * 64, folder="/somewhere"),
    OfTestFile(sha256="3" * 64, path="/somewhere"),
    dataclasses.replace(
        raw_pixels(), trained_on=LabelsSeen(set_name="ours", index="4", videos="5", split=1)
    ),
)  # fmt: skip
"""Of what no cell of the shelf holds."""


def test_every_listed_field_alters_what_a_key_is_made_of_or_does_not_as_it_is_listed(
    shelved: Mapping[str, tuple[Cell, ...]],
) -> None:
    """Whatever holds it, however deep: each field of one of every class is replaced, in place of its whole cell."""
    seen: dict[str, Any] = {}
    for whole in [cell for cells in shelved.values() for cell in cells] + [*OTHERS]:
        for each, _ in _held(whole):
            seen.setdefault(f"{type(each).__module__}:{type(each).__name__}", each)
    seen.pop("tasks.cell:Cell", None)
    assert seen.keys() == GOLDEN_FIELDS.keys() - {"tasks.cell:Cell"}, "OTHERS lacks one of a class"
    for name, each in seen.items():
        for field, mark in GOLDEN_FIELDS[name].items():
            other = _with(each, field, "another value")
            assert (canonical(other) == canonical(each)) == (mark == "not keyed"), (name, field)
            if mark == "keyed unless default":
                (declared,) = (one for one in dataclasses.fields(each) if one.name == field)
                assert field not in canonical(_with(each, field, declared.default)), (name, field)


def test_every_keyed_field_at_any_depth_of_a_cell_alters_its_key(
    shelved: Mapping[str, tuple[Cell, ...]],
) -> None:
    one_of_each: dict[str, Cell] = {}
    for cells in shelved.values():
        for cell in cells:
            one_of_each.setdefault(type(cell.task).__name__, cell)
    assert len(one_of_each) == len(TASKS)
    for cell in one_of_each.values():
        before = json.dumps(canonical(cell.task), sort_keys=True)
        for each, path in _held(cell.task):
            for field in dataclasses.fields(each):
                changed = _at(cell.task, path, _with(each, field.name, "another value"))
                after = json.dumps(canonical(changed), sort_keys=True)
                keyed = shelf.mark_of(field) != "not keyed"
                assert (after != before) == keyed, (type(cell.task).__name__, path, field.name)


def test_every_field_of_a_cell_itself_is_in_its_key_or_listed_as_not() -> None:
    subset = Subset(dataset=raw_digits(), split=1, shots=1, resample=0)
    task = SingleFrame(subset=subset, schedule=Schedule(steps=1, batch_size=1, learning_rate=1.0))
    needed = Cell(task=task, seed=5)
    others: dict[str, Any] = {
        "task": dataclasses.replace(task, schedule=Schedule(steps=2, batch_size=1, learning_rate=1.0)),
        "seed": 1,
        "needs": (needed,),
        "label": "another",
    }  # fmt: skip
    listed = GOLDEN_FIELDS["tasks.cell:Cell"]
    assert others.keys() == listed.keys() - {"key"}
    before = Cell(task=task)
    for name, other in others.items():
        changed = copy.copy(before)
        object.__setattr__(changed, name, other)
        altered = changed.description() != before.description()
        assert altered == (listed[name] == "keyed"), name


def raw_digits() -> Any:
    from tasks.data.digits import Digits

    return Digits()


def _held(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, tuple[str | int, ...]]]:  # fmt: skip
    """Every dataclass within a value that is part of its key, the value itself too, and where."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, Cell) and path:
            return  # by its key
        yield value, path
        for each in dataclasses.fields(value):
            if shelf.mark_of(each) != "not keyed":
                yield from _held(getattr(value, each.name), (*path, each.name))
    elif isinstance(value, tuple | list):
        for number, each in enumerate(value):
            yield from _held(each, (*path, number))


def _with(value: Any, field: str, other: object) -> Any:
    """A copy with another value in a field, which need not be one that it may have."""
    changed = copy.copy(value)
    object.__setattr__(changed, field, other)
    return changed


def _at(value: Any, path: tuple[str | int, ...], other: Any) -> Any:
    if not path:
        return other
    first, *rest = path
    if isinstance(first, int):
        return tuple(_at(each, tuple(rest), other) if number == first else each for number, each in enumerate(value))  # fmt: skip
    return _with(value, first, _at(getattr(value, first), tuple(rest), other))
