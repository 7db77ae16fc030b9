"""Which points of a cloud ask for tokens: spread over the surface, half of them where it bends."""

import math

import torch
from torch import Tensor

from fieldforge.autoencoder.pooling import scatter_mean

POINTS_IN_CELL = 3
"""About as many as a cell of `sharpness` holds, where points lie evenly on the faces of the box."""


FLAT = 0.03
"""Weight of a point where nothing bends: such parts get points, too, where a shape has no edges."""


@torch.no_grad()
def spread_points(surface: Tensor, count: int) -> Tensor:
    """Indices (B, count) of points of a surface (B, N, 9) position · normal · sRGB.

    They are spread by `farthest_points`, every second one of them by distance times `sharpness`: half uniform, half
    salient (Dora, Chen et al. 2024, arXiv 2412.17808). The halves do not know each other: a point may be in both.
    """
    points, weight = surface[..., :3].float(), FLAT + sharpness(surface)
    both = farthest_points(  # in one go, as each point waits for the one before
        points.repeat(2, 1, 1), torch.cat([torch.ones_like(weight), weight]), -(-count // 2)
    )  # (2 B, count / 2)
    return torch.stack(both.chunk(2), -1).flatten(1)[:, :count]


@torch.no_grad()
def farthest_points(points: Tensor, weight: Tensor, count: int) -> Tensor:
    """Indices (B, count) of points (B, N, 3): always the one farthest from all before it.

    Farthest-point sampling (PointNet++, Qi et al. 2017), with distances times weight (B, N), ≥ 0. The heaviest comes
    first. Fewer points are the beginning of more.
    """
    rows = torch.arange(len(points), device=points.device)
    index = [weight.argmax(1)]  # (B,) each
    distance = points.new_full(points.shape[:2], math.inf)  # (B, N), to the nearest of those taken
    while len(index) < count:
        apart = torch.linalg.vector_norm(points - points[rows, index[-1]][:, None], dim=-1)  # (B, N)
        distance = torch.minimum(distance, apart)
        index.append((distance * weight).argmax(1))
    return torch.stack(index, 1)


def sharpness(surface: Tensor) -> Tensor:
    """1 - |mean normal of the points in the same cell of the box| at each point: surface (B, N, 9) → (B, N) in 0…1.

    0 where the surface is flat, and where a point is alone. Both sides of a thin sheet are sharp.
    """
    cells = max(1, round(math.sqrt(surface.shape[1] / POINTS_IN_CELL / 6)))  # the box has six faces
    place = ((surface[..., :3].float() + 1) * (cells / 2)).long().clamp(0, cells - 1)  # (B, N, 3)
    x, y, z = place.unbind(-1)  # (B, N) each
    cell = (x * cells + y) * cells + z  # (B, N)
    means = scatter_mean(surface[..., 3:6].float(), cell, cells**3)  # (B, cells³, 3)
    return 1 - means.norm(dim=-1).gather(1, cell)
