"""Red-black SOR for two unknowns a pixel that are coupled at the pixel and diffuse over the grid.

brox.py makes the system, this file solves it. With unknowns d = (du, dv) at every pixel i:

    A_i d_i + sum_j w_ij (d_i - d_j) = b_i        over the 4 neighbours j of i

where A_i is a symmetric 2x2 matrix and w_ij >= 0 belongs to the edge between i and j. Both unknowns
of a pixel are relaxed together: M_i = A_i + (sum_j w_ij) 1 is inverted once per system. Red pixels
have black neighbours only and the other way round, so half a grid is relaxed at once.

Letters: B pairs, Y rows, X columns. P is the four lattices of one row parity and one column parity,
N the pixels of one lattice over all pairs, side by side in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# Lattice 2 * (row parity) + (column parity). Red: both parities equal.
_ORDER = (0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """One linear system a pair of images; all pairs of a batch are independent of each other."""

    a11_BYX: Tensor
    a12_BYX: Tensor
    a22_BYX: Tensor
    """The 2x2 matrices A_i: positive semidefinite."""
    b_B2YX: Tensor
    """Right-hand sides."""
    right_BYX: Tensor
    """w between (y, x) and (y, x + 1); the last column is not looked at, nothing leaves the image."""
    down_BYX: Tensor
    """w between (y, x) and (y + 1, x); the last row is not looked at."""


def solve(system: System, start_B2YX: Tensor, *, iterations: int, relaxation: float) -> Tensor:
    """Return (B, 2, Y, X) after so many sweeps of successive over-relaxation from start_B2YX.

    Point-coupled SOR (Young 1971): d_i <- (1 - omega) d_i + omega M_i^-1 (b_i + sum_j w_ij d_j), first
    for all red pixels, then for all black ones. It converges for 0 < omega < 2 where M_i is positive
    definite. A pixel without data and without neighbours keeps nothing of its start: it becomes 0.

    Each pair's answer is the same, bit for bit, whatever else is in the batch.
    """
    B, _, Y, X = start_B2YX.shape
    right, down = system.right_BYX.clone(), system.down_BYX.clone()
    right[:, :, -1:] = 0
    down[:, -1:] = 0
    left, up = functional.pad(right, (1, 0))[:, :, :-1], functional.pad(down, (0, 0, 1, 0))[:, :-1]
    sides_BYX = (left, right, up, down)

    outflow = left + right + up + down
    m11, m22, m12 = system.a11_BYX + outflow, system.a22_BYX + outflow, system.a12_BYX
    determinant = m11 * m22 - m12 * m12
    scale = torch.where(
        determinant > 0, relaxation / determinant.clamp(min=torch.finfo(m11.dtype).tiny), 0
    )
    b_PN = [_lattices(system.b_B2YX[:, unknown]) for unknown in (0, 1)]
    inverse_PN = [_lattices(m * scale) for m in (m11, m12, m22)]
    sides_PN = [_lattices(side) for side in sides_BYX]

    # A neighbour is the same index of another lattice, or one column or one row of that lattice
    # away. Beyond an edge that lands in another row, pair or the margin, where w is 0.
    half_X, N = (X + 1) // 2, b_PN[0].shape[1]
    field_P2N = start_B2YX.new_zeros(4, 2, half_X + N + half_X)
    inner = slice(half_X, half_X + N)
    for unknown in (0, 1):
        field_P2N[:, unknown, inner] = _lattices(start_B2YX[:, unknown])

    def shifted(lattice: int, by: int) -> Tensor:
        return field_P2N[lattice, :, half_X + by : half_X + by + N]

    steps = []
    for lattice in _ORDER:
        beside, across = lattice ^ 1, lattice ^ 2
        odd_row, odd_column = divmod(lattice, 2)
        neighbours = (
            shifted(beside, 0 if odd_column else -1),
            shifted(beside, 1 if odd_column else 0),
            shifted(across, 0 if odd_row else -half_X),
            shifted(across, half_X if odd_row else 0),
        )
        weights = tuple(side[lattice] for side in sides_PN)
        right_hand = torch.stack([b[lattice] for b in b_PN])
        inverse = tuple(m[lattice] for m in inverse_PN)
        steps.append(
            (shifted(lattice, 0), right_hand, tuple(zip(weights, neighbours, strict=True)), inverse)
        )

    pulled = torch.empty_like(steps[0][1])
    for _ in range(iterations):
        for own, right_hand, inflow, (m11_N, m12_N, m22_N) in steps:
            torch.addcmul(right_hand, *inflow[0], out=pulled)
            for weight, neighbour in inflow[1:]:
                pulled.addcmul_(weight, neighbour)
            # The inverse of ((a, b), (b, c)) is ((c, -b), (-b, a)) / determinant; omega is in it.
            own.mul_(1 - relaxation)
            own[0].addcmul_(m22_N, pulled[0]).addcmul_(m12_N, pulled[1], value=-1)
            own[1].addcmul_(m11_N, pulled[1]).addcmul_(m12_N, pulled[0], value=-1)
    return torch.stack([_grid(field_P2N[:, unknown, inner], B, Y, X) for unknown in (0, 1)], dim=1)


def _lattices(grid_BYX: Tensor) -> Tensor:
    """Deal (B, Y, X) out to its four lattices, (P, N); odd sizes are filled up with zeros."""
    B, Y, X = grid_BYX.shape
    padded = functional.pad(grid_BYX, (0, X % 2, 0, Y % 2))
    dealt = padded.view(B, (Y + 1) // 2, 2, (X + 1) // 2, 2).permute(2, 4, 0, 1, 3)
    return dealt.reshape(4, -1)


def _grid(lattices_PN: Tensor, B: int, Y: int, X: int) -> Tensor:
    """Undo _lattices: (P, N) to (B, Y, X)."""
    dealt = lattices_PN.reshape(2, 2, B, (Y + 1) // 2, (X + 1) // 2).permute(2, 3, 0, 4, 1)
    return dealt.reshape(B, 2 * ((Y + 1) // 2), 2 * ((X + 1) // 2))[:, :Y, :X]
