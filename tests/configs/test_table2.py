"""Table 2's cells: four models on the same data, trained once for all artefacts that ask for them."""

from dataclasses import replace
from pathlib import Path

import pytest

from configs import table2 as module
from configs.registry import EXPERIMENTS
from configs.table2 import table2
from configs.unsupervised import MODELS, SCORED_ON, digits_model, sized
from reports.published import published
from tasks.data.moving_digits import MovingDigits, TestFile, moving_digits
from tasks.evaluate import Evaluate
from tasks.pretrain import Pretrain


def tasks(**knobs: object) -> dict[tuple[str, int], Pretrain]:
    found = {}
    for cell in table2(columns=("digits",), **knobs).cells:  # type: ignore[arg-type]
        assert isinstance(cell.task, Evaluate)
        assert cell.needs[0].seed == cell.seed
        assert cell.task.trained_cell == cell.needs[0].key
        found[cell.label, cell.seed] = cell.task.trained
    return found


def test_the_rows_are_the_papers_models_by_the_names_it_prints() -> None:
    made = tasks()
    assert [name for name, _ in made] == list(MODELS)
    assert all(published("table2", "mnist", name, "all") for name in MODELS)
    assert {
        name: (task.reconstruct != "none", task.predict_future == "conditional")
        for (name, _), task in made.items()
    } == {
        "Future Predictor": (False, False),
        "Composite Model": (True, False),
        "Conditional Future Predictor": (False, True),
        "Composite Model with Conditional Future Predictor": (True, True),
    }
    for task in made.values():  # sec. 3.2; all models use 2 layers (Table 2)
        assert (task.input_frames, task.future_frames, task.encoder.layers) == (10, 10, 2)


def test_the_default_models_are_those_that_other_artefacts_ask_for() -> None:
    others = {digits_model(moving_digits(), model, sized("demo")) for model in MODELS}
    assert {cell.needs[0] for cell in table2(columns=("digits",)).cells} == others


def test_each_seed_is_a_cell_and_nothing_else_differs() -> None:
    made = tasks(seeds=(0, 3))
    assert set(made) == {(model, seed) for model in MODELS for seed in (0, 3)}
    for model in MODELS:
        assert made[model, 0] == made[model, 3]
    assert set(table2(columns=("digits",)).cells) < set(table2(columns=("digits",), seeds=(0, 3)).cells)  # fmt: skip


def test_sizes_are_the_scales_unless_set_by_hand() -> None:
    task = tasks(scale="paper", glyphs="digits", steps=7)["Composite Model", 0]
    assert (task.encoder.units, task.schedule.steps) == (2048, 7)
    made = table2(columns=("digits",), scale="paper", glyphs="digits")
    assert {cell.task.values()["test_sequences"] for cell in made.cells} == {10_000}


def official(**_: object) -> MovingDigits:
    """The built-in digits as if they had an official file."""
    return replace(moving_digits(), test_file=TestFile(sha256="0" * 64, path=Path("there")))


def test_what_is_tested_on_is_another_evaluation_of_the_same_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = table2().cells
    more = table2(test_sequences=9).cells
    monkeypatch.setattr(module, "find_digits", lambda *_, **__: official())
    from_file = table2().cells
    for other in (more, from_file):
        assert [cell.needs for cell in other] == [cell.needs for cell in usual]
    assert not {cell.key for cell in more} & {cell.key for cell in usual}
    changed = [a.key != b.key for a, b in zip(from_file, usual, strict=True)]
    assert changed == [True] * 4 + [False] * 4  # patches have no such file
    assert [cell.task.values()["tested_on"] for cell in (usual[0], from_file[0], usual[4])] == [
        "drawn sequences",
        "the official file",
        "what panned_photos holds out",
    ]
    for cell in more:
        assert (cell.task.values()["test_sequences"], cell.task.values()["steps"]) == (
            9,
            cell.needs[0].task.values()["steps"],
        )
        assert cell.needs[0].task.values()["test_sequences"] == SCORED_ON


def test_notes_say_what_moves_and_what_is_tested_on() -> None:
    made = table2(columns=("digits",))
    assert made.notes == moving_digits().notes
    assert made.title == "Table 2: future prediction on moving digits"


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"columns": ()}, "columns=: name at least one, and each once"),
        ({"columns": ("digits", "digits")}, "columns=digits,digits: name at least one"),
        ({"seeds": (1, 1)}, "seeds=1,1: name at least one, and each once"),
        ({"seeds": (0, -1)}, "seed=-1: a seed is a whole number from 0 to 4,294,967,295"),
        ({"scale": "small"}, "scale=small: choose from demo, paper"),
        ({"steps": -1}, "steps=-1: a schedule has 0 steps or more"),
    ],
)
def test_bad_values_are_refused_in_a_sentence(knobs: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        table2(**{"columns": ("digits",), **knobs})  # type: ignore[arg-type]


def test_it_is_listed() -> None:
    assert EXPERIMENTS["table2"].place == "configs.table2:table2"
