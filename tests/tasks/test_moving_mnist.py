"""The generator against the rules written out for one sequence, and the distributions that they imply."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.moving_mnist import FIXED_SPEED, SPEED_RANGE, Rules, draw, plan, uniforms

GLYPHS = torch.from_numpy(
    np.random.default_rng(0).integers(1, 256, size=(7, 28, 28), dtype=np.uint8)
)


GOLDEN_GLYPHS = [[21268, 13746], [19707, 33286]]
GOLDEN_TOPS = [[18, 24], [30, 20], [4, 9]]


def by_the_rules(
    rules: Rules, draws: np.ndarray, side: int, num_frames: int
) -> list[list[tuple[int, int]]]:
    """Corners of every digit of one sequence, as the authors' code walks them: a loop for each digit."""
    walked = []
    for _, start_y, start_x, turn, pace in draws.reshape(-1, 5).tolist():
        y, x = start_y, start_x
        room = rules.canvas - side
        length = (
            FIXED_SPEED
            if rules.speed == "fixed"
            else SPEED_RANGE[0] + (SPEED_RANGE[1] - SPEED_RANGE[0]) * pace
        )
        v_y, v_x = length * math.sin(2 * math.pi * turn), length * math.cos(2 * math.pi * turn)
        corners = []
        for _ in range(num_frames):
            y += v_y
            x += v_x
            if x <= 0:
                x, v_x = 0.0, -v_x
            if x >= 1:
                x, v_x = 1.0, -v_x
            if y <= 0:
                y, v_y = 0.0, -v_y
            if y >= 1:
                y, v_y = 1.0, -v_y
            corners.append((int(room * y), int(room * x)))
        walked.append(corners)
    return walked


def frames(
    rules: Rules, *, seed: int = 0, indices: object = range(9), num_frames: int = 20
) -> np.ndarray:
    planned = plan(rules, num_glyphs=7, side=28, seed=seed, indices=indices, num_frames=num_frames)  # type: ignore[arg-type]
    return draw(rules, GLYPHS, planned).numpy()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3), st.integers(29, 70), st.sampled_from(["fixed", "uniform"]),
    st.integers(0, 2**63), st.integers(-5, 2**63),
)  # fmt: skip
def test_a_sequence_is_what_the_rules_written_out_give(
    num_digits: int, canvas: int, speed: str, seed: int, index: int
) -> None:
    rules = Rules(num_digits=num_digits, canvas=canvas, speed=speed)  # type: ignore[arg-type]
    (draws,) = uniforms(seed, [index], 5 * num_digits)
    walked = by_the_rules(rules, draws, 28, 12)
    expected_TYX = np.zeros((12, canvas, canvas), dtype=np.uint8)
    for digit, corners in enumerate(walked):
        glyph = GLYPHS[int(draws[5 * digit] * 7)].numpy()
        for t, (top, left) in enumerate(corners):
            seen = expected_TYX[t, top : top + 28, left : left + 28]
            np.maximum(seen, glyph, out=seen)
    found = frames(rules, seed=seed, indices=[index], num_frames=12)
    np.testing.assert_array_equal(found[:, 0], expected_TYX)


def test_batches_ranks_and_lengths_do_not_matter() -> None:
    rules = Rules()
    whole = frames(rules, indices=range(12))
    np.testing.assert_array_equal(whole[:, 5:9], frames(rules, indices=range(5, 9)))
    np.testing.assert_array_equal(whole[:, 1::3], frames(rules, indices=range(1, 12, 3)))
    np.testing.assert_array_equal(whole[:7], frames(rules, indices=range(12), num_frames=7))
    assert not np.array_equal(whole, frames(rules, seed=1, indices=range(12)))
    assert len({whole[:, b].tobytes() for b in range(12)}) == 12


def test_sequences_stay_what_they_are() -> None:
    """Golden: results of pretraining would silently mean other data otherwise."""
    planned = plan(Rules(), num_glyphs=60_000, side=28, seed=7, indices=[0, 10**12], num_frames=20)
    assert planned.glyph_BN.tolist() == GOLDEN_GLYPHS
    assert [planned.top_TBN[t, 0].tolist() for t in (0, 9, 19)] == GOLDEN_TOPS


def test_speeds_positions_and_directions_are_distributed_as_said() -> None:
    draws = uniforms(3, range(20_000), 5)
    # Kolmogorov-Smirnov against the uniform: 1.95 / sqrt(n) is passed by chance once in a thousand times.
    ranks = np.arange(1, 20_001) / 20_000
    for column in np.sort(draws, axis=0).T:
        assert np.abs(column - ranks).max() < 1.95 / math.sqrt(20_000)
    correlation = np.corrcoef(draws, rowvar=False) - np.eye(5)
    assert np.abs(correlation).max() < 0.03
    for speed, (low, high) in (
        ("fixed", (3.6, 3.6)),
        ("uniform", (36 * SPEED_RANGE[0], 36 * SPEED_RANGE[1])),
    ):
        planned = plan(
            Rules(speed=speed), num_glyphs=1, side=28, seed=1, indices=range(500), num_frames=20
        )  # type: ignore[arg-type]
        steps = np.hypot(np.diff(planned.top_TBN, axis=0), np.diff(planned.left_TBN, axis=0))
        assert steps.max() <= high + math.sqrt(
            2
        )  # truncation moves a corner by less than a pixel on each axis
        assert np.median(steps) == pytest.approx((low + high) / 2, abs=0.5)


def test_digits_bounce_and_never_leave() -> None:
    planned = plan(Rules(), num_glyphs=1, side=28, seed=1, indices=range(500), num_frames=60)
    for corner in (planned.top_TBN, planned.left_TBN):
        assert (corner.min(), corner.max()) == (0, 36)
        turned = np.diff(np.sign(np.diff(corner, axis=0)), axis=0) != 0
        assert (
            2 < turned.sum(axis=0).mean() < 12
        )  # 60 frames at 3.6 cross 36 pixels about four times


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"num_digits": 0}, "num_digits=0: a sequence shows at least 1"),
        ({"canvas": 0}, "canvas=0"),
        ({"speed": "fast"}, "speed='fast': choose from fixed, uniform"),
    ],
)
def test_what_is_no_rule_is_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match="=") as caught:
        Rules(**values)  # type: ignore[arg-type]
    assert sentence in str(caught.value)


def test_a_digit_must_fit() -> None:
    with pytest.raises(ValueError, match="digits of 28 pixels cannot move in a frame of 28"):
        plan(Rules(canvas=28), num_glyphs=1, side=28, seed=0, indices=[0], num_frames=1)
    with pytest.raises(ValueError, match="num_frames=0"):
        plan(Rules(), num_glyphs=1, side=28, seed=0, indices=[0], num_frames=0)
