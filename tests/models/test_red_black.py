"""The solver against a dense matrix, built one equation at a time, and numpy's direct solution."""

import numpy as np
import pytest
import torch

from models.red_black import System, solve


def random_system(B: int, Y: int, X: int) -> System:
    root = torch.randn(B, 2, 2, Y, X, dtype=torch.float64)
    return System(
        a11_BYX=root[:, 0].square().sum(dim=1),
        a12_BYX=(root[:, 0] * root[:, 1]).sum(dim=1),
        a22_BYX=root[:, 1].square().sum(dim=1),
        b_B2YX=torch.randn(B, 2, Y, X, dtype=torch.float64),
        right_BYX=torch.rand(B, Y, X, dtype=torch.float64) + 0.1,
        down_BYX=torch.rand(B, Y, X, dtype=torch.float64) + 0.1,
    )


def direct(system: System, pair: int) -> np.ndarray:
    """Solve one pair's equations as they stand in the module's docstring."""
    _, _, Y, X = system.b_B2YX.shape
    matrix = np.zeros((2, Y, X, 2, Y, X))
    for y in range(Y):
        for x in range(X):
            a12 = float(system.a12_BYX[pair, y, x])
            matrix[0, y, x, 0, y, x] += float(system.a11_BYX[pair, y, x])
            matrix[1, y, x, 1, y, x] += float(system.a22_BYX[pair, y, x])
            matrix[0, y, x, 1, y, x] += a12
            matrix[1, y, x, 0, y, x] += a12
            for weights, (j, i) in (
                (system.right_BYX, (y, x + 1)),
                (system.down_BYX, (y + 1, x)),
            ):
                if j < Y and i < X:
                    weight = float(weights[pair, y, x])
                    for unknown in (0, 1):
                        matrix[unknown, y, x, unknown, y, x] += weight
                        matrix[unknown, j, i, unknown, j, i] += weight
                        matrix[unknown, y, x, unknown, j, i] -= weight
                        matrix[unknown, j, i, unknown, y, x] -= weight
    flat = matrix.reshape(2 * Y * X, 2 * Y * X)
    return np.linalg.solve(flat, system.b_B2YX[pair].numpy().reshape(-1)).reshape(2, Y, X)


@pytest.mark.parametrize(("Y", "X"), [(1, 1), (1, 6), (5, 1), (4, 6), (5, 4), (4, 5), (7, 5)])
def test_many_sweeps_reach_the_direct_solution_on_even_and_odd_grids(Y: int, X: int) -> None:
    system = random_system(2, Y, X)
    found = solve(system, torch.zeros_like(system.b_B2YX), iterations=400, relaxation=1.5)
    for pair in (0, 1):
        np.testing.assert_allclose(found[pair], direct(system, pair), rtol=0, atol=1e-10)


def test_the_solution_stays_where_it_is_and_a_start_is_not_forgotten() -> None:
    system = random_system(1, 5, 6)
    solution = torch.from_numpy(direct(system, 0))[None]
    torch.testing.assert_close(
        solve(system, solution, iterations=1, relaxation=1.9), solution, rtol=0, atol=1e-10
    )
    start = torch.randn_like(solution)
    assert torch.equal(solve(system, start, iterations=0, relaxation=1.9), start)


def test_red_is_relaxed_with_the_old_black_and_black_with_the_new_red() -> None:
    # Two pixels, A = 1, w = 1, b = (3, 0): the red one becomes (3 + 5) / 2, the black one 4 / 2.
    ones, none = torch.ones(1, 1, 2), torch.zeros(1, 1, 2)
    system = System(
        a11_BYX=ones,
        a12_BYX=none,
        a22_BYX=ones,
        b_B2YX=torch.tensor([[[[3.0, 0.0]], [[0.0, 0.0]]]]),
        right_BYX=ones,
        down_BYX=ones,
    )
    start = torch.tensor([[[[9.0, 5.0]], [[0.0, 0.0]]]])
    swept = solve(system, start, iterations=1, relaxation=1.0)
    assert swept[0, 0, 0].tolist() == [4.0, 2.0]
    assert swept[0, 1].count_nonzero() == 0


def test_a_pixel_without_data_or_neighbours_becomes_zero() -> None:
    nothing = torch.zeros(1, 1, 1)
    system = System(
        a11_BYX=nothing,
        a12_BYX=nothing,
        a22_BYX=nothing,
        b_B2YX=torch.zeros(1, 2, 1, 1),
        right_BYX=nothing,
        down_BYX=nothing,
    )
    swept = solve(system, torch.ones(1, 2, 1, 1), iterations=60, relaxation=1.5)
    assert swept.abs().max() < 1e-6
