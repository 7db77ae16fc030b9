"""The contract of differentiable surface extraction, and what its two methods share: the grid and its crossings.

An extraction turns signed distances at the corners of a grid over the box into the triangles of their zero set, with
gradients to the distances and to offsets of the grid's points. `geometry.isosurface` makes finished meshes without
gradients. Axis letters: G grid points along an axis, resolution = G - 1 cells; N grid points of a list; P vertices; F
faces.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fieldforge.geometry.camera import BOX

CORNERS = tuple((x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1))
"""Corners of a cell; corner (x, y, z) has the number 4x + 2y + z."""

LEAST = 1e-4
"""Cells: no grid point is nearer to the surface than this distance, which bounds the gradient of crossings."""


@dataclass(frozen=True)
class ExtractedSurface:
    """A closed surface: vertices (P, 3) in box units, faces (F, 3) counter-clockwise seen from outside.

    loss_terms: name → scalar; each is 0, with zero gradients, for an empty surface (P = F = 0).
    """

    vertices: Tensor
    faces: Tensor
    loss_terms: dict[str, Tensor]

    @property
    def is_empty(self) -> bool:
        return len(self.faces) == 0


class SurfaceExtraction(Protocol):
    """distances (G, G, G), indexed x, y, z, negative inside, and offsets (G, G, G, 3) → surface."""

    def __call__(self, distances: Tensor, offsets: Tensor | None = None) -> ExtractedSurface: ...


class DistanceGrid:
    """Distances at grid points, as every extraction reads them; points have flat numbers (x · G + y) · G + z.

    Computes in float32. The outermost layer is outside of the shape, so that surfaces are closed. A distance that is
    not finite counts as outside, and gets no gradient: a diverged network loses parts of its shape, not the training.
    A point moves by tanh(offset) / (2 · resolution) box units, a quarter of a cell at most.
    """

    def __init__(self, distances: Tensor, offsets: Tensor | None) -> None:
        self.size = distances.shape[0]  # G
        assert distances.shape == (self.size,) * 3, f"distances are (G, G, G), got {tuple(distances.shape)}"
        assert self.size > 2, f"{self.size} points along an axis: the outermost ones are outside of the shape"
        assert offsets is None or offsets.shape == (*distances.shape, 3), f"offsets {tuple(offsets.shape)}"
        self.resolution = self.size - 1
        self.spacing = 2 * BOX / self.resolution
        self.distances = _away_from_zero(_closed(distances.float(), self.spacing), LEAST * self.spacing).flatten()
        self.inside = self.distances.detach() < 0  # (G³,)
        self.offsets = None if offsets is None else offsets.float().reshape(-1, 3)
        self.strides = distances.new_tensor([self.size**2, self.size, 1], dtype=torch.int64)
        self.corner_steps = self._numbers(torch.tensor(CORNERS, device=distances.device))  # (8,)

    def _numbers(self, steps: Tensor) -> Tensor:
        """Flat numbers (N,) of points at whole steps (N, 3) along the axes."""
        return (steps * self.strides).sum(dim=-1)  # there is no matrix product of integers on a GPU

    def crossed_cells(self) -> Tensor:
        """Cells with corners on both sides, ascending, named by the grid point at their lowest corner: (N,)."""
        count = self.inside.view((self.size,) * 3).to(torch.uint8)
        for axis in range(3):
            count = count.narrow(axis, 0, self.resolution) + count.narrow(axis, 1, self.resolution)
        return self._numbers(((count > 0) & (count < 8)).nonzero())

    def places(self, points: Tensor) -> Tensor:
        """Places (..., 3) in the box of grid points (...)."""
        steps = points.unsqueeze(-1) // self.strides % self.size
        places = steps.float() * self.spacing - BOX
        if self.offsets is None:
            return places
        return places + self.offsets[points].tanh() / (2 * self.resolution)

    def sign_loss(self) -> Tensor:
        """Mean cross-entropy of the signs at both ends of edges that change sign (Munkberg et al. 2022, eq. 2).

        It removes floaters and inner surfaces. Distances are in cells. Scalar.
        """
        grid = (self.distances / self.spacing).view((self.size,) * 3)
        losses, count = grid.sum() * 0, 0
        for axis in range(3):
            low, high = grid.narrow(axis, 0, self.resolution), grid.narrow(axis, 1, self.resolution)
            change = (low < 0) != (high < 0)
            pairs = torch.stack([low[change], high[change]])  # (2, N)
            target = (pairs.flip(0) < 0).float()
            losses = losses + torch.nn.functional.binary_cross_entropy_with_logits(-pairs, target, reduction="sum")
            count += pairs.numel()
        return losses / max(count, 1)


def crossing(low: Tensor, high: Tensor, low_place: Tensor, high_place: Tensor) -> Tensor:
    """Places (N, 3) where a linear function of opposite signs low, high (N,) at places (N, 3) is zero."""
    share = (low / (low - high)).unsqueeze(-1)
    return low_place + share * (high_place - low_place)


def _closed(distances: Tensor, spacing: float) -> Tensor:
    finite = distances.isfinite()
    distances = torch.where(finite, distances, torch.full_like(distances, spacing))
    inner = torch.zeros_like(finite)
    inner[1:-1, 1:-1, 1:-1] = True
    return torch.where(inner, distances, distances.clamp_min(1e-3 * spacing))


def _away_from_zero(distances: Tensor, least: float) -> Tensor:
    """The distances with absolute values of `least` or more; the gradient is that of the identity."""
    values = distances.detach()
    moved = torch.where(values < 0, values.clamp_max(-least), values.clamp_min(least))
    return distances + (moved - values)
