"""Evaluation apart from training: the same numbers as training would have given, and no training of its own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tasks.cell import Cell
from tasks.data.moving_digits import moving_digits
from tasks.encoders import LSTM
from tasks.evaluate import Evaluate, evaluated
from tasks.pretrain import Pretrain
from tasks.schedule import Schedule
from tasks.task import Needed, Predictions

DIGITS = moving_digits()
TRAINED = Pretrain(
    dataset=DIGITS,
    encoder=LSTM(units=6, layers=2),
    predict_future="conditional",
    input_frames=4,
    future_frames=3,
    schedule=Schedule(steps=2, batch_size=4, learning_rate=1e-2),
    test_sequences=5,
    precision="bfloat16",
)
CELL = Cell(task=TRAINED, seed=3, label="a model")


@pytest.fixture
def needed(tmp_path: Path) -> Needed:
    """A finished run of the training, with weights that are no longer those of step 0."""
    model = TRAINED.build(CELL.seed, ())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.manual_seed(1)))
    for name, tensors in TRAINED.products(model).items():
        save_file(dict(tensors), tmp_path / f"{name}.safetensors")
    return Needed(cell=CELL, folder=tmp_path)


def predictions(task: Any, model: torch.nn.Module) -> Predictions:
    with torch.no_grad():
        chunks = [task.predict(model.eval(), chunk) for chunk in range(task.num_chunks())]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


@pytest.mark.parametrize("dataset", [DIGITS, moving_digits(num_digits=3)], ids=lambda d: d.name)
@pytest.mark.parametrize("count", [5, 70])
def test_losses_are_to_the_bit_those_that_training_would_have_had(
    needed: Needed, dataset: Any, count: int
) -> None:
    cell = evaluated(CELL, label="x", dataset=dataset, test_sequences=count)
    ours = predictions(cell.task, cell.task.build(cell.seed, (needed,)))
    itself = replace(TRAINED, dataset=dataset, test_sequences=count)
    model = itself.build(7, ())
    model.load_state_dict(needed.tensors("model"))
    theirs = predictions(itself, model)
    assert set(ours) == set(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert list(cell.task.score(ours)) == list(itself.score(theirs))
    assert len(ours["sequence"]) == count


def test_more_sequences_begin_with_the_same_ones(needed: Needed) -> None:
    few, many = (evaluated(CELL, label="x", test_sequences=count) for count in (64, 70))
    model = few.task.build(0, (needed,))
    first, all_ = predictions(few.task, model), predictions(many.task, model)
    assert all(np.array_equal(all_[name][:64], first[name]) for name in first)


def test_it_trains_nothing_and_keeps_no_second_copy_of_the_model(needed: Needed) -> None:
    cell = evaluated(CELL, label="x")
    assert cell.task.schedule.steps == 0
    assert dict(cell.task.products(cell.task.build(0, (needed,)))) == {}


def test_its_values_are_those_of_the_training_and_what_it_was_tested_on() -> None:
    cell = evaluated(CELL, label="x", test_sequences=9)
    values = cell.task.values()
    told = {
        "trained_on": "moving_digits",
        "trained_cell": CELL.key,
        "tested_on": "drawn sequences",
        "test_sequences": 9,
    }
    assert values == {**TRAINED.values(), **told}
    assert (values["steps"], values["batch_size"], values["precision"]) == (2, 4, "bfloat16")
    assert (cell.seed, cell.label) == (3, "x")
    assert [(need.key, need.label) for need in cell.needs] == [(CELL.key, "")]


def test_the_key_is_of_the_model_the_data_and_the_count() -> None:
    keys = [
        evaluated(trained, label=label, **chosen).key  # type: ignore[arg-type]
        for trained, label, chosen in (
            (CELL, "x", {}),
            (replace(CELL, seed=4), "x", {}),
            (CELL, "x", {"test_sequences": 6}),
            (CELL, "x", {"dataset": moving_digits(num_digits=1)}),
        )
    ]
    assert len(set(keys)) == 4
    assert evaluated(CELL, label="another").key == keys[0]
    assert evaluated(CELL, label="x", test_sequences=5, dataset=DIGITS).key == keys[0]


def test_only_the_model_that_is_spoken_of_is_taken() -> None:
    cell = evaluated(CELL, label="x")
    for needs in ((), (CELL, CELL), (cell,)):
        with pytest.raises(ValueError, match="exactly one pretraining cell"):
            Cell(task=cell.task, needs=needs)
    for other in (replace(CELL, seed=4), Cell(task=replace(TRAINED, input_frames=5), seed=3)):
        with pytest.raises(ValueError, match=rf"cell {other.short} is not the one .*{CELL.short}"):
            Cell(task=cell.task, needs=(other,))
    with pytest.raises(ValueError, match="is of Evaluate: an evaluation needs"):
        evaluated(cell, label="x")


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="test_sequences=0: it must be at least 1"):
        evaluated(CELL, label="x", test_sequences=0)
    with pytest.raises(ValueError, match=r"is 1,600 numbers.*on frames of 1,024.*same size"):
        evaluated(CELL, label="x", dataset=moving_digits(canvas=40))
    task = evaluated(CELL, label="x").task
    assert isinstance(task, Evaluate)
    with pytest.raises(NotImplementedError, match="trains nothing"):
        task.loss(torch.nn.Linear(1, 1), None)
