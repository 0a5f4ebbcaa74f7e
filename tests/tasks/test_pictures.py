"""Pictures of a trained model: the right frames in the order of time, and the losses of pretraining itself."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tasks.cell import Cell
from tasks.data.moving_digits import moving_digits
from tasks.encoders import LSTM
from tasks.pictures import FILE, Pictures, Shape, picture_shape, pictured
from tasks.pretrain import Pretrain
from tasks.schedule import Schedule
from tasks.task import Needed, Predictions

DIGITS = moving_digits()
TRAINED = Pretrain(
    dataset=DIGITS,
    encoder=LSTM(units=6, layers=2),
    input_frames=4,
    future_frames=3,
    schedule=Schedule(steps=2, batch_size=4, learning_rate=1e-2),
    test_sequences=5,
)
CELL = Cell(task=TRAINED, seed=3, label="a model")


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Frames of normal numbers, as patches are."""

    version: ClassVar[int] = 1
    notes: ClassVar[tuple[str, ...]] = ()
    details: ClassVar[dict[str, str | int]] = {}
    stream: ClassVar[str] = "patches"
    name: str = "noise"
    output: Literal["logistic", "linear"] = "linear"
    frame_size: int = 48

    def evaluation(self, indices: range, num_frames: int) -> np.ndarray:
        draws = [
            np.random.default_rng(i).normal(size=(num_frames, self.frame_size)) for i in indices
        ]
        return np.stack(draws, axis=1).astype(np.float32)

    unlabelled = evaluation


def needed(cell: Cell, folder: Path) -> Needed:
    """A finished run of a pretraining cell, with weights that are no longer those of step 0."""
    model = cell.task.build(cell.seed, ())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.manual_seed(1)))
    for name, tensors in cell.task.products(model).items():
        save_file(dict(tensors), folder / f"{name}.safetensors")
    return Needed(cell=cell, folder=folder)


def shown(cell: Cell, folder: Path) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    model = cell.task.build(0, (needed(cell.needs[0], folder),)).eval()
    return model, dict(cell.task.products(model)[FILE])


def predictions(task: Any, model: torch.nn.Module) -> Predictions:
    with torch.no_grad():
        chunks = [task.predict(model.eval(), chunk) for chunk in range(task.num_chunks())]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def test_the_model_is_the_trained_one(tmp_path: Path) -> None:
    model, _ = shown(pictured(CELL, label="x"), tmp_path)
    kept = load_file(tmp_path / "model.safetensors")
    assert set(kept) == set(model.state_dict())
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


def test_pictures_are_the_first_sequences_in_the_order_of_time(tmp_path: Path) -> None:
    model, kept = shown(pictured(CELL, label="x", show=3), tmp_path)
    truth_TBD = torch.from_numpy(DIGITS.evaluation(range(3), 7))
    with torch.no_grad():
        state = model.encoder.represent(truth_TBD[:4])  # type: ignore[union-attr,operator]
        backwards_TBD = model.reconstructor(state, 4).sigmoid()  # type: ignore[operator]
        ahead_FBD = model.predictor(state, 3).sigmoid()  # type: ignore[operator]
    in_time_TBD = torch.stack([backwards_TBD[3 - frame] for frame in range(4)])
    for name, expected in (
        ("input_TBD", truth_TBD[:4]),
        ("future_FBD", truth_TBD[4:]),
        ("reconstruction_TBD", in_time_TBD),
        ("prediction_FBD", ahead_FBD),
    ):
        assert kept[name].dtype == torch.float16
        torch.testing.assert_close(kept[name].float(), expected, atol=5e-4, rtol=0)
    assert kept["display_range"].tolist() == [0, 1]


def test_grey_levels_survive_being_kept(tmp_path: Path) -> None:
    _, kept = shown(pictured(CELL, label="x"), tmp_path)
    levels = np.round(255 * kept["input_TBD"].float().numpy())
    assert np.array_equal(levels, np.round(255 * DIGITS.evaluation(range(2), 4)))


def test_a_conditional_predictor_is_fed_its_own_outputs(tmp_path: Path) -> None:
    cell = Cell(task=replace(TRAINED, predict_future="conditional"))
    model, kept = shown(pictured(cell, label="x"), tmp_path)
    truth_TBD = torch.from_numpy(DIGITS.evaluation(range(2), 7))
    with torch.no_grad():
        free = model(truth_TBD[:4], future_steps=3, teacher_forced=False).future_TBD.sigmoid()
        forced = model(truth_TBD[:4], truth_TBD[4:], teacher_forced=True).future_TBD.sigmoid()
    torch.testing.assert_close(kept["prediction_FBD"].float(), free, atol=5e-4, rtol=0)
    assert (free - forced).abs().max() > 5e-3


def test_the_loss_of_the_pictures_that_are_kept_is_the_free_running_one(tmp_path: Path) -> None:
    conditional = Cell(task=replace(TRAINED, predict_future="conditional"))
    cell = pictured(conditional, label="x", show=5)
    model, kept = shown(cell, tmp_path)
    p_FBD = kept["prediction_FBD"].double().numpy()
    z_FBD = DIGITS.evaluation(range(5), 7)[4:].astype(np.float64)
    loss_FB = -(z_FBD * np.log(p_FBD) + (1 - z_FBD) * np.log(1 - p_FBD)).sum(axis=2)
    table = predictions(cell.task, model)
    free_FB, forced_FB = (
        np.stack([table[f"{name}_{frame:03d}"] for frame in (1, 2, 3)])
        for name in ("future_loss", "future_loss_teacher_forced")
    )
    # float16 keeps eleven binary digits of a probability.
    np.testing.assert_allclose(loss_FB, free_FB, rtol=5e-4)
    np.testing.assert_allclose(loss_FB.mean(axis=0), table["future_loss"], rtol=5e-4)
    assert np.abs(forced_FB / loss_FB - 1).max() > 1e-3


def test_scores_are_those_that_pretraining_gave(tmp_path: Path) -> None:
    cell = pictured(CELL, label="x")
    model, _ = shown(cell, tmp_path)
    ours = list(cell.task.score(predictions(cell.task, model)))
    assert ours == list(TRAINED.score(predictions(TRAINED, model)))
    assert [score.metric for score in ours] == list(Pictures.metrics)


def test_other_sequences_can_be_shown_and_are_scored(tmp_path: Path) -> None:
    one = moving_digits(num_digits=1)
    cell = pictured(CELL, label="x", dataset=one)
    model, kept = shown(cell, tmp_path)
    assert np.allclose(kept["future_FBD"], one.evaluation(range(2), 7)[4:], atol=5e-4)
    scores = {s.metric.name: s.value for s in cell.task.score(predictions(cell.task, model))}
    asked = replace(TRAINED, dataset=one)
    assert scores == {s.metric.name: s.value for s in asked.score(predictions(asked, model))}
    values = cell.task.values()
    assert (values["dataset"], values["trained_on"]) == (one.name, DIGITS.name)
    assert cell.key != pictured(CELL, label="x").key


def test_a_model_keeps_only_what_its_decoders_make(tmp_path: Path) -> None:
    future = Cell(task=replace(TRAINED, reconstruct="none"))
    past = Cell(task=replace(TRAINED, predict_future="none"))
    assert "reconstruction_TBD" not in shown(pictured(future, label="x"), tmp_path)[1]
    assert "prediction_FBD" not in shown(pictured(past, label="x"), tmp_path)[1]


def test_linear_outputs_are_kept_as_they_are_with_the_range_of_the_truth(tmp_path: Path) -> None:
    cell = Cell(task=replace(TRAINED, dataset=Noise()))
    model, kept = shown(pictured(cell, label="x"), tmp_path)
    truth_TBD = torch.from_numpy(Noise().evaluation(range(2), 7))
    with torch.no_grad():
        raw = model(truth_TBD[:4], future_steps=3, teacher_forced=False).future_TBD
    torch.testing.assert_close(kept["prediction_FBD"].float(), raw, atol=5e-3, rtol=0)
    low, high = kept["display_range"].tolist()
    inside = ((truth_TBD >= low) & (truth_TBD <= high)).float().mean().item()
    assert inside == pytest.approx(0.98, abs=0.01)
    assert pictured(cell, label="x").task.values()["channels"] == 3


def test_frames_of_one_value_have_a_range_all_the_same(tmp_path: Path) -> None:
    class Flat(Noise):
        def evaluation(self, indices: range, num_frames: int) -> np.ndarray:
            return np.full((num_frames, len(indices), self.frame_size), 2.5, dtype=np.float32)

    _, kept = shown(pictured(Cell(task=replace(TRAINED, dataset=Flat())), label="x"), tmp_path)
    low, high = kept["display_range"].tolist()
    assert low < high


@pytest.mark.parametrize(
    ("size", "shape"),
    [(1024, (32, 1)), (3072, (32, 3)), (4096, (64, 1)), (3, (1, 3)), (2000, None), (2, None)],
)
def test_frames_are_square_pictures_in_grey_or_colours(size: int, shape: Shape | None) -> None:
    assert picture_shape(size) == shape


@given(st.integers(1, 10**6), st.sampled_from([1, 3]))
def test_the_shape_of_a_picture_follows_from_its_size(side: int, channels: int) -> None:
    assert picture_shape(side * side * channels) == (side, channels)


def test_frames_that_the_model_cannot_take_are_refused() -> None:
    for other, why in (
        (moving_digits(canvas=40), "is 1,600 numbers.*on frames of 1,024.*same size"),
        (Noise(frame_size=1024), "asks for linear outputs.*with logistic ones"),
    ):
        with pytest.raises(ValueError, match=why):
            pictured(CELL, label="x", dataset=other)
    percepts = Cell(task=replace(TRAINED, dataset=Noise(frame_size=50)))
    with pytest.raises(ValueError, match=r"50 numbers.*no square picture.*not of percepts"):
        pictured(percepts, label="x")


def test_only_the_model_that_is_spoken_of_is_taken() -> None:
    cell = pictured(CELL, label="x")
    assert [need.key for need in cell.needs] == [CELL.key]
    for needs in ((), (CELL, CELL), (cell,)):
        with pytest.raises(ValueError, match="exactly one pretraining cell"):
            Cell(task=cell.task, needs=needs)
    other = Cell(task=replace(TRAINED, input_frames=5))
    with pytest.raises(
        ValueError, match=r"is not the one that this evaluation speaks of .*pictured"
    ):
        Cell(task=cell.task, needs=(other,))
    with pytest.raises(ValueError, match="is of Pictures: an evaluation needs"):
        pictured(cell, label="x")


@pytest.mark.parametrize("show", [0, 17])
def test_a_figure_has_a_few_sequences(show: int) -> None:
    with pytest.raises(ValueError, match=rf"show={show}: a figure has 1 to 16"):
        pictured(CELL, label="x", show=show)


def test_the_cost_is_one_look_at_the_sequences() -> None:
    task = pictured(CELL, label="x").task
    per_sequence = TRAINED.gflop() / (3 * 2 * 4 + 5)
    assert task.gflop() == pytest.approx(5 * per_sequence)
