"""Sinusoidal positional embeddings of the tokens on a grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SLOWEST = 10_000.0  # wavelength of the slowest wave, in places and by 2π


def grid_places(grid: Sequence[int], width: int) -> Tensor:
    """Places of a grid (n₁, …, n_d) in row-major order → (n₁ · … · n_d, width).

    Vaswani et al. 2017, section 3.5, for each axis (Dosovitskiy et al. 2021; two axes: MAE, He et al. 2022). An axis
    has w = width // 2d frequencies: for its coordinate p, sin(p / 10000^(k/w)), k < w, then as many cosines. The axes
    follow each other; the remaining channels are 0. ValueError where `width` has no wave for some axis.
    """
    waves = width // (2 * len(grid))
    if waves < 1:
        raise ValueError(f"places on {len(grid)} axes need a width of at least {2 * len(grid)}, not {width}")
    frequencies = SLOWEST ** -(torch.arange(waves, dtype=torch.float64) / waves)  # (w,)
    points = torch.cartesian_prod(*(torch.arange(size, dtype=torch.float64) for size in grid))  # (T, d); (T,) if d = 1
    angles = points.view(-1, len(grid), 1) * frequencies  # (T, d, w)
    places = torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)  # (T, 2dw)
    return torch.nn.functional.pad(places, (0, width - places.shape[1])).float()


def first_places(tokens: int, width: int, grid: Sequence[int] | None, deviation: float) -> Tensor:
    """Initial values of learned positions, (tokens, width): `grid_places`, or noise where the tokens have no grid."""
    return torch.randn(tokens, width) * deviation if grid is None else grid_places(grid, width)
