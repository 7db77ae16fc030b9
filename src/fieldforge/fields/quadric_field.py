"""A field of active cells whose start is a quadric of each, read where it is asked."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldforge.fields.base import Params
from fieldforge.fields.cell_field import CellField
from fieldforge.fields.density import LaplaceDensity
from fieldforge.ranges import Cells, Count, Sides

COEFFICIENTS = 10
BAND = 0.25  # sides of a cell around a wall, in which the quadrics of both cells are blended


class QuadricField(CellField):
    """A `CellField` whose first feature is added to the quadrics of the cells.

    A quadric that is read between lattice points loses what is thinner than they are apart; here it is exact. Near a
    wall those of the cells on both sides are blended, so that the field is continuous (partition of unity: Ohtake et
    al. 2003, section 3; weights are linear across a band around each wall).

    Parameters: those of a `CellField`, and `quadrics` (rows as those of `cells`, 10): coefficients in the order of
        `monomials`, of coordinates in half sides of a cell from the middle of the box.
    """

    ragged = frozenset({"cells", "quadrics"})

    def __init__(
        self,
        cells: Cells = 16,
        sides: Sides = 4,
        features: Count = 12,
        hidden: Count = 48,
        density: LaplaceDensity | None = None,
    ):
        super().__init__(cells, sides, features, hidden, density)
        self.band: Tensor
        self.register_buffer("band", torch.tensor(BAND))  # weights of a `CellField` are of another design

    @property
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        return {**super().param_shapes, "quadrics": (self.cells**3, COEFFICIENTS)}

    def started(self, features: Tensor, points: Tensor, live: Tensor, params: Params) -> Tensor:
        """With the blended quadrics, within ±2, in the first."""
        table, rows = params["table"][..., 0].long(), params["quadrics"].float()
        with torch.no_grad():
            numbers, weights = self._around(points, table, live, rows.shape[1])  # (M, 8) each
        blend = F.embedding_bag(numbers, rows.flatten(0, 1), per_sample_weights=weights, mode="sum")  # (M, 10)
        where = points.flatten(0, 1).index_select(0, live) * self.cells  # (M, 3)
        start = (blend * monomials(where)).sum(-1, keepdim=True).clamp(-2, 2)  # (M, 1)
        return torch.cat([features[:, :1] + start, features[:, 1:]], -1)

    def _around(self, points: Tensor, table: Tensor, live: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Rows of the batch (M, 8) of the active cells around each point, and their weights, whose sum is 1."""
        sample = live // points.shape[1]  # (M,)
        scaled = (points.flatten(0, 1).index_select(0, live) + 1) * (
            self.cells / 2
        ) - 0.5  # cells from the first middle
        low = scaled.floor().long()  # (M, 3)
        upper = ((scaled - low - 0.5) / self.band + 0.5).clamp(0, 1)  # (M, 3): weight of the cell beyond the wall
        numbers, weights = [], []
        for corner in range(8):
            step = torch.tensor([corner >> axis & 1 for axis in range(3)], device=points.device)
            place = low + step
            within = ((place >= 0) & (place < self.cells)).all(-1)
            x, y, z = place.clamp(0, self.cells - 1).unbind(-1)
            row = table[sample, (x * self.cells + y) * self.cells + z]  # (M,)
            there = within & (row >= 0)
            numbers.append(torch.where(there, sample * count + row, 0))
            weights.append(torch.where(step.bool(), upper, 1 - upper).prod(-1) * there)
        weight = torch.stack(weights, -1)
        return torch.stack(numbers, -1), weight / weight.sum(-1, keepdim=True).clamp(min=1e-9)


def monomials(x: Tensor) -> Tensor:
    """x (..., 3) → values (..., 10) of 1, x, y, z, x², y², z², xy, xz, yz."""
    a, b, c = x.unbind(-1)
    return torch.stack([torch.ones_like(a), a, b, c, a * a, b * b, c * c, a * b, a * c, b * c], -1)


def moved(coefficients: Tensor, shift: Tensor) -> Tensor:
    """Coefficients (A, 10) of f → those of x ↦ f(x - shift), shift (A, 3)."""
    constant, slope, square, mixed = coefficients.split([1, 3, 3, 3], -1)
    xy, xz, yz = mixed.unbind(-1)
    p, q, r = shift.unbind(-1)
    of_mixed = torch.stack([xy * q + xz * r, xy * p + yz * r, xz * p + yz * q], -1)  # gradient at the shift
    gradient = 2 * square * shift + of_mixed
    value = constant[:, 0] - (slope * shift).sum(-1) + (gradient * shift).sum(-1) / 2
    return torch.cat([value[:, None], slope - gradient, square, mixed], -1)
