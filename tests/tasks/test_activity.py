"""Watching a future predictor: what is run, what is kept, and what is refused."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tasks.activity import CHANGE, KEPT, PANELS, Activity, Weights, watched
from tasks.cell import Cell
from tasks.data.digits import Digits
from tasks.data.moving_digits import moving_digits
from tasks.encoders import LSTM
from tasks.fewshot import FewShot
from tasks.persistence import change, moving_units, persistence
from tasks.pretrain import FUTURE_LOSS, Pretrain, at_frame
from tasks.schedule import Schedule
from tasks.subset import Subset
from tasks.task import Needed, Predictions

STEPS = 24
PRETRAIN = Pretrain(
    dataset=moving_digits(),
    encoder=LSTM(units=10, layers=2),
    input_frames=5,
    future_frames=4,
    schedule=Schedule(steps=5, batch_size=6, learning_rate=1e-2),
    test_sequences=4,
)
START = Cell(task=PRETRAIN, seed=3)
SMALL = {"steps": STEPS, "units_shown": 6, "test_sequences": 5, "chunk": 2, "sequence": 7}


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames(Digits):
    """Data of any size and kind of output, which nobody reads."""

    name: str = "made up"
    frame_size: int
    output: Literal["logistic", "linear"]


def cell_of(weights: Weights = "trained", seed: int = 0, **chosen: int) -> Cell:
    return watched(START, weights=weights, seed=seed, **{**SMALL, **chosen})


@pytest.fixture
def needed(tmp_path: Path) -> Needed:
    """A model as pretraining leaves it: none of its weights is as it was drawn."""
    model = PRETRAIN.build(START.seed, ())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.rand(parameter.shape, generator=generator))
    for name, tensors in PRETRAIN.products(model).items():
        save_file(dict(tensors), tmp_path / f"{name}.safetensors")
    return Needed(cell=START, folder=tmp_path)


def built(cell: Cell, needed: Needed) -> torch.nn.Module:
    return cell.task.build(cell.seed, (needed,)).eval()


def predicted(cell: Cell, needed: Needed) -> Predictions:
    model = built(cell, needed)
    with torch.no_grad():
        chunks = [cell.task.predict(model, chunk) for chunk in range(cell.task.num_chunks())]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def state_of(model: torch.nn.Module, part: str) -> dict[str, torch.Tensor]:
    whole = model.state_dict()
    return {name: whole[name] for name in whole if name.startswith(f"model.{part}.")}


def test_random_weights_replace_those_of_the_future_predictor_alone(needed: Needed) -> None:
    trained, random = (built(cell_of(each), needed) for each in ("trained", "random"))
    saved = needed.tensors("model")
    for part in ("encoder", "reconstructor", "predictor"):
        for name, value in state_of(trained, part).items():
            assert torch.equal(value, saved[name.removeprefix("model.")])
    for part in ("encoder", "reconstructor"):
        ours = state_of(random, part)
        assert all(
            torch.equal(value, ours[name]) for name, value in state_of(trained, part).items()
        )
    matrices = {n: v for n, v in state_of(random, "predictor").items() if "weight" in n}
    assert any("readout" in name for name in matrices)
    at_first = PRETRAIN.build(START.seed, ()).state_dict()
    for name, value in matrices.items():
        assert value.abs().max() <= value.shape[1] ** -0.5  # section 3.1: U(+-1/sqrt(fan-in))
        assert not torch.equal(value, saved[name.removeprefix("model.")])
        assert not torch.equal(value, at_first[name.removeprefix("model.")])
    others = {n: v for n, v in state_of(random, "predictor").items() if "weight" not in n}
    assert all((value == 0).all() for value in others.values())


def test_random_weights_are_no_draws_that_the_encoder_began_with(needed: Needed) -> None:
    random = state_of(built(cell_of("random", seed=START.seed), needed), "predictor")
    at_first = PRETRAIN.build(START.seed, ()).state_dict()["encoder.lstm.layers.0.weight_x"]
    ours = random["model.predictor.lstm.layers.0.weight_h"]
    begin_of_each = [each.flatten()[:50] * each.shape[1] ** 0.5 for each in (ours, at_first)]
    assert not torch.allclose(*begin_of_each)


def test_the_units_shown_are_drawn_by_the_seed_and_the_same_for_both_weights(
    needed: Needed,
) -> None:
    def units(cell: Cell) -> list[int]:
        drawn: list[int] = built(cell, needed).units_U.tolist()  # type: ignore[operator, union-attr]
        return drawn

    first = units(cell_of())
    assert len(set(first)) == 6
    assert set(first) <= set(range(10))
    assert units(cell_of("random")) == first
    assert units(cell_of(seed=1)) != first
    assert sorted(units(cell_of(units_shown=200))) == list(range(10))
    assert cell_of(units_shown=200).task.values()["units_shown"] == 10


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("layer", [1, 2])
def test_measures_and_losses_are_those_of_the_model_run_by_itself(
    layer: int, conditional: bool, tmp_path: Path
) -> None:
    task = replace(PRETRAIN, predict_future="conditional" if conditional else "unconditioned")
    model = task.build(0, ())
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    start = Cell(task=task)
    cell = watched(start, weights="trained", layer=layer, **SMALL)
    table = predicted(cell, Needed(cell=start, folder=tmp_path))
    frames_TBD = torch.from_numpy(task.dataset.evaluation(range(5), 5 + STEPS))
    with torch.no_grad():
        raw = model(frames_TBD[:5], future_steps=STEPS, teacher_forced=False).future_TBD
        shown_TBD = None
        if conditional:
            shown_TBD = torch.cat([torch.zeros_like(raw[:1]), raw.sigmoid()[:-1]])
        lstm, state = model.predictor.lstm, model.encoder.represent(frames_TBD[:5])
        h_TBH, _ = lstm.layers[0](shown_TBD, state[0], steps=STEPS)
        if layer == 2:
            h_TBH, _ = lstm.layers[1](h_TBH, state[1])
    p, z = raw.sigmoid().double().numpy(), frames_TBD[5:].double().numpy()
    loss_FB = -(z * np.log(p) + (1 - z) * np.log(1 - p)).sum(axis=2)
    h_TBH = h_TBH.double().numpy()
    assert table["sequence"].tolist() == list(range(5))
    for step in range(1, STEPS + 1):
        np.testing.assert_allclose(table[at_frame(FUTURE_LOSS, step)], loss_FB[step - 1], rtol=1e-5)
    np.testing.assert_allclose(table["first_loss"], loss_FB[:10].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(table["last_loss"], loss_FB[-10:].mean(axis=0), rtol=1e-5)
    change_TB = change(h_TBH)
    for step in range(2, STEPS + 1):
        np.testing.assert_allclose(table[f"{CHANGE}_{step:03d}"], change_TB[step - 2], atol=1e-6)
    assert f"{CHANGE}_001" not in table
    np.testing.assert_allclose(table["persistence"], persistence(change_TB), rtol=1e-2)
    np.testing.assert_allclose(table["moving_units"], moving_units(h_TBH))


def test_chunks_alter_nothing(needed: Needed) -> None:
    one, other = (predicted(cell_of(chunk=chunk), needed) for chunk in (2, 5))
    assert one.keys() == other.keys()
    assert all(np.allclose(one[name], other[name], equal_nan=True, rtol=1e-4) for name in one)


def test_scores_are_means_and_a_rhythm_is_only_of_what_moves(needed: Needed) -> None:
    cell = cell_of()
    table = predicted(cell, needed)
    table["moving_units"] = np.array([50.0, 0.0, 25.0, 0.0, 0.0])
    table["period"] = np.array([12.0, np.nan, 6.0, np.nan, np.nan])
    table["period_share"] = np.array([80.0, np.nan, 40.0, np.nan, np.nan])
    found = {score.metric.name: score for score in cell.task.score(table)}
    assert set(found) == {metric.name for metric in Activity.metrics}
    assert (found["period"].value, found["period"].count) == (9.0, 2)
    assert (found["period_share"].value, found["period_share"].count) == (60.0, 2)
    assert (found["moving_units"].value, found["moving_units"].count) == (15.0, 5)
    assert found["persistence"].value == pytest.approx(table["persistence"].mean())
    table["moving_units"] = np.zeros(5)
    assert {s.metric.name for s in cell.task.score(table)}.isdisjoint({"period", "period_share"})


def test_missing_sequences_and_measures_that_are_no_numbers_are_refused(needed: Needed) -> None:
    table = predicted(cell_of(), needed)
    with pytest.raises(ValueError, match="each of 5 sequences exactly once"):
        list(cell_of().task.score({**table, "sequence": np.array([0, 1, 2, 3, 3])}))
    with pytest.raises(ValueError, match="last_loss is nan: this model has no score"):
        list(cell_of().task.score({**table, "last_loss": np.full(5, np.nan)}))


def test_what_is_kept_is_the_sequence_shown(needed: Needed) -> None:
    cell = cell_of()
    model = built(cell, needed)
    kept = cell.task.products(model)[KEPT]
    units_U = kept["units"]
    true_TBD = PRETRAIN.dataset.evaluation([7], 5 + STEPS)
    with torch.no_grad():
        activity, raw_FBD = model(torch.from_numpy(true_TBD[:5]), STEPS, layer=0)
    for name, each_TBH in zip(PANELS, activity, strict=True):
        assert kept[name].dtype == torch.float16
        assert kept[name].shape == (STEPS, 6)
        torch.testing.assert_close(
            kept[name].float(), each_TBH[:, 0, units_U], rtol=1e-3, atol=1e-4
        )
    pictures = (255 * true_TBD).round().astype(np.uint8).reshape(-1, 32, 32)
    assert np.array_equal(kept["input_frames"], pictures[:5])
    assert np.array_equal(kept["true_frames"], pictures[5:])
    expected = (255 * raw_FBD.sigmoid()).numpy().reshape(-1, 32, 32)
    assert np.abs(kept["predicted_frames"].numpy() - expected).max() <= 0.501
    assert kept["predicted_frames"].dtype == torch.uint8


def test_nothing_is_trained_and_its_cost_is_that_of_running_on() -> None:
    short, long = (cell_of(steps=steps).task for steps in (30, 60))
    assert short.schedule.steps == 0
    assert 0 < short.gflop() < long.gflop() < 2 * short.gflop()
    with pytest.raises(NotImplementedError, match="watched, not trained"):
        short.batch(0, 0, None)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="watched, not trained"):
        short.loss(torch.nn.Identity(), None)


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"steps": 20}, "steps=20: the first and the last 10 changes are compared"),
        ({"layer": 3}, "layer=3: the future predictor has 2, counted from 1"),
        ({"layer": 0}, "layer=0: the future predictor has 2, counted from 1"),
        ({"units_shown": 0}, "units_shown=0: it must be at least 1"),
        ({"sequence": -1}, "sequence=-1: it must be at least 0"),
        ({"test_sequences": 0}, "test_sequences=0: it must be at least 1"),
        ({"chunk": 0}, "chunk=0: it must be at least 1"),
    ],
)
def test_values_out_of_range_are_refused(chosen: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        cell_of(**chosen)


def test_models_that_cannot_be_watched_are_refused() -> None:
    autoencoder = Cell(task=replace(PRETRAIN, predict_future="none"))
    with pytest.raises(ValueError, match="this model predicts no future"):
        watched(autoencoder, weights="trained")
    with pytest.raises(ValueError, match="have 400 numbers and the model reads 1024"):
        watched(START, weights="trained", dataset=Digits())
    for wrong in (Frames(frame_size=16, output="linear"), Frames(frame_size=12, output="logistic")):
        task = replace(PRETRAIN, dataset=wrong)
        with pytest.raises(
            ValueError, match="frames of made up cannot be shown as square pictures"
        ):
            watched(Cell(task=task), weights="trained")
    few = FewShot(
        subset=Subset(dataset=Digits(), split=1, shots=1, resample=0),
        encoder=LSTM(units=2, layers=1),
        dropout=0.0,
        schedule=PRETRAIN.schedule,
    )
    with pytest.raises(ValueError, match="is of FewShot: watching activity needs a pretraining"):
        watched(Cell(task=few), weights="trained")


def test_needs_that_are_not_the_model_are_refused() -> None:
    task = cell_of().task
    other = Cell(task=replace(PRETRAIN, input_frames=6))
    with pytest.raises(ValueError, match="not the one of the cell needed"):
        Cell(task=task, needs=(other,))
    for needs in ((), (START, START)):
        with pytest.raises(ValueError, match="needs exactly one cell"):
            Cell(task=task, needs=needs)
