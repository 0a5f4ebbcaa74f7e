"""Schedules: the rate at every step, values that are refused, and what a field that came later does to keys."""

from dataclasses import replace
from typing import Any

import pytest

from tasks.cell import canonical
from tasks.schedule import Schedule, Staircase

SGD = Schedule(steps=100, batch_size=4, learning_rate=1.0, optimizer="sgd", decay="constant")


def test_a_staircase_goes_down_at_the_first_step_of_every_stair() -> None:
    stairs = replace(SGD, decay=Staircase(factor=0.5, every=3))
    rates = [stairs.learning_rate_at(step) for step in range(8)]
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_after_a_warm_up_a_staircase_is_where_it_would_be_without_one() -> None:
    stairs = replace(SGD, decay=Staircase(factor=0.5, every=3), warmup_steps=4)
    assert [stairs.learning_rate_at(step) for step in range(7)] == [
        0.25, 0.5, 0.75, 1, 0.5, 0.5, 0.25,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"factor": 0.0, "every": 3}, "factor=0.0: a staircase goes down"),
        ({"factor": 1.1, "every": 3}, "factor=1.1: a staircase goes down"),
        ({"factor": 0.9, "every": 0}, "every=0: a stair is at least 1 step long"),
    ],
)
def test_stairs_that_lead_nowhere_are_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Staircase(**values)


def test_a_bound_on_the_velocity_is_above_zero_and_of_sgd_only() -> None:
    with pytest.raises(ValueError, match=r"clip_velocity=0\.0: it must be above 0"):
        replace(SGD, clip_velocity=0.0)
    with pytest.raises(ValueError, match=r"clip_velocity=0\.1 with optimizer=adamw: only sgd has"):
        replace(SGD, clip_velocity=0.1, optimizer="adamw")


def test_a_bound_on_the_velocity_is_in_a_key_only_where_there_is_one() -> None:
    assert "clip_velocity" not in canonical(SGD)
    assert canonical(replace(SGD, clip_velocity=0.1))["clip_velocity"] == 0.1
    assert canonical(replace(SGD, decay=Staircase(factor=0.5, every=3)))["decay"] == {
        "class": "Staircase",
        "factor": 0.5,
        "every": 3,
    }


def test_a_schedule_is_told_in_words() -> None:
    modern = Schedule(steps=1000, batch_size=8, learning_rate=2e-3, warmup_steps=100)
    assert modern.title == "AdamW, learning rate up to 0.002, cosine"
    authors = Schedule(
        steps=10,
        batch_size=80,
        learning_rate=8e-3,
        optimizer="sgd",
        clip_velocity=1e-4,
        decay=Staircase(factor=0.9, every=10_000),
    )
    assert (
        authors.title
        == "gradient descent with momentum 0.9 and steps of at most 0.0001, learning rate 0.008, times 0.9 every 10,000 steps"
    )
    plain = Schedule(steps=10, batch_size=8, learning_rate=0.1, optimizer="sgd", decay="constant")
    assert plain.title == "gradient descent with momentum 0.9, learning rate 0.1, constant"
