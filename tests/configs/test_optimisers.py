"""The optimisers by name: what they are, and that means over a batch lose nothing of the authors' summed gradients."""

import numpy as np
import pytest
import torch

from configs.cells import pretraining
from configs.optimisers import OptimiserName, as_in_2015, modern, schedule
from configs.scales import SCALES
from harness.velocity_sgd import VelocitySGD
from tasks.data.digits import Digits
from tasks.encoders import LSTM
from tasks.schedule import Schedule


def test_the_pretrainings_of_the_experiments_keep_their_identity() -> None:
    demo, paper = (
        pretraining(Digits(), LSTM(units=128, layers=2), SCALES[name], future_frames=13)
        for name in ("demo", "paper")
    )
    assert demo.short == "f5d92961b4e78734"
    assert paper.short == "6e57ef6f70a02ac4"


def test_modern_warms_up_for_a_tenth_but_no_more_than_100_steps() -> None:
    assert modern(50, 8, 1e-3) == Schedule(
        steps=50, batch_size=8, learning_rate=1e-3, warmup_steps=5, clip_norm=200.0
    )
    assert modern(5_000, 8, 1e-3).warmup_steps == 100


def test_as_in_2015_is_the_authors_at_their_batch_of_80() -> None:
    made = as_in_2015(30_000)
    assert (made.batch_size, made.optimizer, made.momentum) == (80, "sgd", 0.9)
    assert (made.clip_velocity, made.clip_norm, made.warmup_steps) == (1e-4, None, 0)
    # In terms of the summed gradient, B times the mean: both 1e-4.
    assert made.learning_rate / 80 == pytest.approx(1e-4, rel=1e-12)
    assert made.learning_rate * made.weight_decay == pytest.approx(1e-4 * 1e-4, rel=1e-12)
    for step, factor in ((0, 1), (9_999, 1), (10_000, 0.9), (19_999, 0.9), (20_000, 0.81)):
        rate = made.learning_rate_at(step)
        assert rate == pytest.approx(80e-4 * factor, rel=1e-12), step


@pytest.mark.parametrize("batch_size", [1, 6, 80])
@pytest.mark.parametrize("bound", [1e-4, 1e9])
def test_steps_on_mean_gradients_are_the_authors_on_summed_ones(
    batch_size: int, bound: float
) -> None:
    rng = np.random.default_rng(3)
    start = rng.normal(size=50)
    gradients = rng.normal(size=(8, batch_size, 50))  # of every sequence, 8 steps
    made = as_in_2015(8, batch_size)
    weight = torch.nn.Parameter(torch.tensor(start))
    optimizer = VelocitySGD(
        [weight],
        lr=made.learning_rate,
        momentum=made.momentum,
        weight_decay=made.weight_decay,
        clip_velocity=bound,
    )
    w, v = start.copy(), np.zeros(50)
    for each in gradients:
        weight.grad = torch.tensor(each.mean(axis=0))
        optimizer.step()
        v = np.clip(0.9 * v - 1e-4 * (each.sum(axis=0) + 1e-4 * w), -bound, bound)
        w += v
    np.testing.assert_allclose(weight.detach().numpy(), w, rtol=0, atol=1e-14)
    assert not np.allclose(w, start, rtol=0, atol=1e-6)


def test_a_schedule_by_name_is_that_of_its_function() -> None:
    assert schedule("modern", steps=50, batch_size=8, learning_rate=1e-3) == modern(50, 8, 1e-3)
    assert schedule("as_in_2015", steps=50, batch_size=8) == as_in_2015(50, 8)


@pytest.mark.parametrize(
    ("name", "rate", "sentence"),
    [
        ("modern", None, "optimiser=modern has no learning rate of its own: give learning_rate"),
        ("as_in_2015", 1e-3, "learning_rate=0.001 with optimiser=as_in_2015.*leave the rate out"),
        ("adam", None, "optimiser=adam: choose from modern, as_in_2015"),
    ],
)
def test_a_name_or_a_rate_that_does_not_fit_is_refused(
    name: OptimiserName, rate: float | None, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        schedule(name, steps=10, batch_size=8, learning_rate=rate)
