"""Measures of lasting activity on signals whose answers are known by hand."""

import math

import numpy as np
import pytest

from tasks.persistence import (
    change,
    check_steps,
    late,
    moving_units,
    persistence,
    rhythm,
)

T, H = 100, 12
STEPS = np.arange(1, T + 1)
PHASES = np.linspace(0, 2 * np.pi, H, endpoint=False)


def sine(period: float, amplitude: float = 0.5) -> np.ndarray:
    """One sequence (T, 1, H) whose units have phases all around the circle."""
    return amplitude * np.sin(2 * np.pi * STEPS[:, None] / period + PHASES)[:, None]


def decaying(rate: float) -> np.ndarray:
    return np.repeat(np.exp(-rate * STEPS)[:, None, None], H, axis=2)


CONSTANT = np.full((T, 1, H), 0.7)


def test_a_sine_goes_on_for_ever_and_has_its_period() -> None:
    h_TBH = sine(25)
    assert persistence(change(h_TBH)) == pytest.approx(1, abs=0.02)
    assert moving_units(h_TBH) == 100
    found = rhythm(h_TBH)
    assert found.period_B == 25
    assert found.share_B == pytest.approx(100)


def test_the_change_is_the_mean_over_units_from_the_second_step_on() -> None:
    h_TBH = np.array([[[0.0, 1.0]], [[0.5, 1.0]], [[0.5, -1.0]]])
    np.testing.assert_allclose(change(h_TBH), [[0.25], [1.0]])


def test_a_decay_dies_out_by_the_rate_that_it_has() -> None:
    h_TBH = decaying(0.1)
    # Both tens of changes are the same geometric series, 89 steps apart (changes 1..10 and 90..99).
    assert persistence(change(h_TBH)) == pytest.approx(math.exp(-0.1 * 89))
    assert moving_units(h_TBH) == 0
    found = rhythm(h_TBH)
    assert np.isnan(found.period_B).all()
    assert np.isnan(found.share_B).all()


def test_what_never_moves_has_no_persistence_and_no_rhythm() -> None:
    assert persistence(change(CONSTANT)) == 0
    assert moving_units(CONSTANT) == 0
    assert np.isnan(rhythm(CONSTANT).period_B).all()


def test_a_slow_drift_is_one_period_as_long_as_the_steps_looked_at() -> None:
    h_TBH = np.repeat((STEPS / T)[:, None, None], H, axis=2)
    assert persistence(change(h_TBH)) == pytest.approx(1)
    assert rhythm(h_TBH).period_B == T / 2


def test_sequences_are_measured_each_alone() -> None:
    each = (sine(25), decaying(0.1), CONSTANT, sine(10))
    together = np.concatenate(each, axis=1)
    for measure in (lambda h: persistence(change(h)), moving_units, lambda h: rhythm(h).period_B):
        alone = np.concatenate([np.atleast_1d(measure(h)) for h in each])
        np.testing.assert_allclose(measure(together), alone)
    np.testing.assert_allclose(rhythm(together).period_B, [25, np.nan, np.nan, 10])


def test_units_that_move_are_counted() -> None:
    h_TBH = np.concatenate([sine(25)[..., :3], CONSTANT[..., :9]], axis=2)
    assert moving_units(h_TBH) == 25.0
    # A sine of amplitude a has a standard deviation of a / sqrt(2): just above and just below 0.01.
    for amplitude, expected in ((0.0143, 100), (0.0139, 0)):
        assert moving_units(sine(25, amplitude)) == expected


def test_the_stronger_of_two_rhythms_is_found_with_its_share_of_power() -> None:
    h_TBH = sine(25, 0.3) + sine(10, 0.1)
    found = rhythm(h_TBH)
    assert found.period_B == 25
    assert found.share_B == pytest.approx(100 * 0.3**2 / (0.3**2 + 0.1**2))


@pytest.mark.parametrize("steps", [99, 100])
def test_shares_are_of_the_variance(steps: int) -> None:
    h_TBH = np.random.default_rng(0).normal(scale=0.3, size=(steps, 4, H))
    found = rhythm(h_TBH)
    late_TBH = late(h_TBH)
    for sequence in range(4):
        # Parseval: what one frequency explains of the variance, by projecting on its sine and cosine.
        phase = 2 * np.pi * np.arange(len(late_TBH)) / found.period_B[sequence]
        basis = np.linalg.qr(np.stack([np.cos(phase), np.sin(phase)], axis=1))[0]
        centred = late_TBH[:, sequence] - late_TBH[:, sequence].mean(axis=0)
        explained = np.square(basis.T @ centred).sum() / np.square(centred).sum()
        assert found.share_B[sequence] == pytest.approx(100 * explained)


def test_the_fastest_rhythm_counts_once() -> None:
    alternating = np.where(STEPS % 2, 0.2, -0.2)[:, None, None] * np.ones((1, 1, H))
    found = rhythm(alternating)
    assert found.period_B == 2
    assert found.share_B == pytest.approx(100)


def test_what_begins_to_move_later_is_refused_only_from_a_standstill() -> None:
    still = np.concatenate([np.zeros((T // 2, 1, H)), sine(25)[: T // 2]])
    with pytest.raises(ValueError, match="stands still for 10 steps and then moves"):
        persistence(change(still))
    assert persistence(change(sine(25) * np.linspace(0.1, 1, T)[:, None, None])) > 1


def test_short_runs_are_refused() -> None:
    check_steps(21)
    with pytest.raises(ValueError, match=r"steps=20: .* run at least 21 steps"):
        check_steps(20)
