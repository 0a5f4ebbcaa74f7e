"""Fig. 7's cells: one model, watched twice."""

from dataclasses import replace

import pytest

from configs import fig7 as module
from configs.fig7 import LABELS, fig7
from configs.unsupervised import digits_model, sized
from reports.published import COMPOSITE
from tasks.activity import Activity
from tasks.data.moving_digits import MovingDigits, moving_digits


def test_both_predictors_rest_on_the_model_that_the_other_artefacts_train() -> None:
    expected = digits_model(moving_digits(), COMPOSITE, sized("demo"), layers=1)
    made = fig7()
    assert [cell.label for cell in made.cells] == list(LABELS.values())
    assert all(cell.needs == (expected,) for cell in made.cells)
    assert len(made.all_cells()) == 3


def test_the_default_is_the_papers_figure() -> None:
    trained, random = (cell.task for cell in fig7(scale="paper", glyphs="digits").cells)
    assert isinstance(trained, Activity)
    assert isinstance(random, Activity)
    assert (trained.steps, trained.units_shown, trained.layer) == (100, 200, 1)
    model = trained.model
    assert (model.reconstruct, model.predict_future) == ("unconditioned", "unconditioned")
    assert (model.input_frames, model.future_frames) == (10, 10)
    assert (model.encoder.layers, model.encoder.units) == (1, 2048)
    assert random == replace(trained, weights="random")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused_before_anything_is_run(seed: int) -> None:
    with pytest.raises(ValueError, match=rf"seed={seed}: a seed is a whole number from 0 to"):
        fig7(seed=seed)


def test_what_is_only_watched_otherwise_is_trained_once() -> None:
    base = fig7().cells[0]
    for knobs in (
        {"future_steps": 50},
        {"sequence": 1},
        {"units_shown": 20},
        {"measured": 8},
    ):
        other = fig7(**knobs).cells[0]  # type: ignore[arg-type]
        assert other.key != base.key
        assert other.needs == base.needs
    assert fig7(seed=1).cells[0].needs != base.needs
    assert fig7(layers=2, layer=2).cells[0].task.values()["layer"] == 2


def test_sequences_are_drawn_as_they_are_longer_than_those_of_the_official_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def find_digits(*_: object, test_set: str, **__: object) -> MovingDigits:
        asked.append(test_set)
        return moving_digits()

    monkeypatch.setattr(module, "find_digits", find_digits)
    made = fig7()
    assert asked == ["generated"]
    for cell in made.cells:
        task = cell.task
        assert isinstance(task, Activity)
        assert task.model.dataset == moving_digits()
        assert task.dataset == moving_digits()
    assert any("not on the official test file" in note for note in made.notes)


def test_values_out_of_range_are_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="layer=2: the future predictor has 1"):
        fig7(layer=2)
    with pytest.raises(ValueError, match="steps=20: the first and the last 10 changes"):
        fig7(future_steps=20)
