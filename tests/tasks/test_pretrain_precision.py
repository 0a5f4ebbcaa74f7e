"""Pretraining in bfloat16: near float32 in loss, gradients and what is learnt; evaluated in float32 either way."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import get_args

import numpy as np
import pytest
import torch

from configs.optimisers import modern
from harness.loop import build_optimizer
from tasks.cell import Cell, canonical
from tasks.data.digits import Digits
from tasks.encoders import LSTM
from tasks.pretrain import Decoder, Pretrain
from tasks.task import Shard

FULL = Pretrain(
    dataset=Digits(),
    encoder=LSTM(units=16, layers=2),
    predict_future="conditional",
    input_frames=5,
    future_frames=3,
    test_sequences=10,
    chunk=4,
    schedule=modern(100, 8, 1e-2),
)
MIXED = replace(FULL, precision="bfloat16")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Matrices this small are only slowed down by more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model() -> torch.nn.Module:
    """With parameters far from zero: at step 0 logits are so small that rounding them alters nothing."""
    made = FULL.build(0, ())
    generator = torch.Generator().manual_seed(1)
    for parameter in made.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5, generator=generator)
    return made


def loss_and_gradients(task: Pretrain, model: torch.nn.Module) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    loss = task.loss(model, task.batch(0, 0, Shard()))
    assert loss.dtype == torch.float32
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32, name  # type: ignore[union-attr]
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])  # type: ignore[union-attr]


def test_loss_and_gradients_are_near_those_of_float32(model: torch.nn.Module) -> None:
    loss, gradient = loss_and_gradients(FULL, model)
    near, near_gradient = loss_and_gradients(MIXED, model)
    # A logit is rounded by 2^-9 of itself at most, about 2e-3. Errors are of either sign, so that of a mean over thousands
    # of pixels far less is left.
    assert near == pytest.approx(loss, rel=1e-4)
    assert near != loss
    assert bool(near_gradient.isfinite().all())
    # Through 8 steps of 2 layers, forward and back: a few such roundings on top of one another.
    assert float((near_gradient - gradient).norm() / gradient.norm()) < 5 * 2**-9


@pytest.mark.parametrize(
    ("reconstruct", "predict_future"),
    [kinds for kinds in product(get_args(Decoder), repeat=2) if kinds != ("none", "none")],
)
def test_every_kind_of_model_has_finite_gradients_in_bfloat16(
    reconstruct: Decoder, predict_future: Decoder
) -> None:
    task = replace(MIXED, reconstruct=reconstruct, predict_future=predict_future)
    _, gradient = loss_and_gradients(task, task.build(0, ()))
    assert bool(gradient.isfinite().all())


def trained(task: Pretrain) -> tuple[torch.nn.Module, list[float]]:
    model = task.build(0, ())
    optimizer = build_optimizer(task.schedule, model)
    losses = []
    for step in range(task.schedule.steps):
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = (
            task.schedule.learning_rate_at(step)
        )
        optimizer.zero_grad()
        loss = task.loss(model, task.batch(0, step, Shard()))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 200.0)
        optimizer.step()
        losses.append(loss.item())
    for state in optimizer.state.values():
        assert {each.dtype for each in state.values()} == {torch.float32}
    return model, losses


def test_a_short_training_comes_to_about_the_loss_of_float32() -> None:
    (_, full), (_, mixed) = trained(FULL), trained(MIXED)
    assert np.mean(full[-10:]) < 0.3 * full[0]
    assert np.mean(mixed[-10:]) == pytest.approx(np.mean(full[-10:]), rel=1e-3)


def test_evaluation_is_float32_to_the_last_bit(model: torch.nn.Module) -> None:
    with torch.no_grad():
        full, mixed = FULL.predict(model, 0), MIXED.predict(model, 0)
    assert full.keys() == mixed.keys()
    assert all(np.array_equal(full[name], mixed[name]) for name in full)


def test_precision_is_in_the_key_only_where_it_is_not_float32() -> None:
    assert "precision" not in canonical(FULL)
    assert Cell(task=FULL).key != Cell(task=MIXED).key
    assert MIXED.values()["precision"] == "bfloat16"


def test_a_precision_that_cannot_be_trained_in_is_refused() -> None:
    with pytest.raises(ValueError, match="precision='float16': choose from float32, bfloat16"):
        replace(FULL, precision="float16")  # type: ignore[arg-type]
