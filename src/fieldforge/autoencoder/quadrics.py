"""The quadric of each cell that its surface points suggest, a start for learned local shapes.

Multi-level partition of unity implicits (Ohtake et al. 2003, section 3.1) describe a surface by a quadratic function in
each cell. Here it is fitted to points and normals, so that it holds two-sided sheets, edges and thin bars as well as
planes.

Letters: P points, A cells. Coordinates are half sides of a cell from its centre, so that a cell is [-1, 1]³; f is in
    the same unit and positive outside.
"""

from itertools import product

import numpy as np
import torch
from torch import Tensor

from fieldforge.fields.quadric_field import COEFFICIENTS

EXPONENTS = (
    (0, 0, 0),
    (1, 0, 0),
    (0, 1, 0),
    (0, 0, 1),
    (2, 0, 0),
    (0, 2, 0),
    (0, 0, 2),
    (1, 1, 0),
    (1, 0, 1),
    (0, 1, 1),
)
MOMENTS = tuple(powers for powers in product(range(5), repeat=3) if sum(powers) <= 4)  # 35 of them
VALUE_WEIGHT = 4.0  # of |f|² at a point beside |∇f - n|²
LINEAR_RIDGE, QUADRATIC_RIDGE = 1e-4, 0.05


def _normal_equations() -> np.ndarray:
    """(35, 100): moments → the matrix of VALUE_WEIGHT · m mᵀ + ∇m ∇mᵀ, row by row."""
    number = {powers: index for index, powers in enumerate(MOMENTS)}
    table = np.zeros((len(MOMENTS), COEFFICIENTS, COEFFICIENTS), np.float32)
    for (i, a), (j, b) in product(enumerate(EXPONENTS), repeat=2):
        total = [p + q for p, q in zip(a, b, strict=True)]
        table[number[tuple(total)], i, j] += VALUE_WEIGHT  # type: ignore[index]
        for axis in range(3):
            if a[axis] and b[axis]:
                lower = tuple(power - 2 * (axis == other) for other, power in enumerate(total))
                table[number[lower], i, j] += a[axis] * b[axis]  # type: ignore[index]
    return table.reshape(len(MOMENTS), -1)


NORMAL_EQUATIONS = _normal_equations()


@torch.no_grad()
def fit_quadrics(x: Tensor, normals: Tensor, cell: Tensor, count: int) -> Tensor:
    """Coefficients (A, 10) of f with the least mean of 4 f² + |∇f - n|² over a cell's points, and a small ridge.

    x (P, 3), unit normals (P, 3), cell (P,) in 0 … A - 1, count A; every cell has a point. Float32.
    """
    rows = torch.cat([_moments(x.t().contiguous()), _normal_moments(x.t(), normals.t())])  # (35 + 9, P)
    # A row of sums stays in the cache of a core: a fifth of the time of adding whole columns.
    sums = rows.new_zeros(len(rows), count).scatter_add(1, cell.expand(len(rows), -1), rows)
    means = (sums / sums[:1]).t()  # (A, 44); the first moment is 1
    matrix = (means[:, : len(MOMENTS)] @ x.new_tensor(NORMAL_EQUATIONS)).view(-1, COEFFICIENTS, COEFFICIENTS)
    ridge = x.new_tensor([LINEAR_RIDGE] * 4 + [QUADRATIC_RIDGE] * 6)
    right = torch.cat([means.new_zeros(count, 1), means[:, len(MOMENTS) :]], -1)  # (A, 10)
    return torch.linalg.solve(matrix + ridge.diag(), right[..., None])[..., 0]


def _moments(x: Tensor) -> Tensor:
    """Products of powers (35, P) of x (3, P), in the order of `MOMENTS`."""
    powers = [torch.ones_like(x), x]
    for _ in range(3):
        powers.append(powers[-1] * x)
    return torch.stack([powers[i][0] * powers[j][1] * powers[k][2] for i, j, k in MOMENTS])


def _normal_moments(x: Tensor, normals: Tensor) -> Tensor:
    """∇m · n (9, P) of the nine monomials m that are not constant, x and normals (3, P)."""
    (a, b, c), (u, v, w) = x, normals
    return torch.stack([u, v, w, 2 * a * u, 2 * b * v, 2 * c * w, b * u + a * v, c * u + a * w, c * v + b * w])
