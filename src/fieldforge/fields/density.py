"""Volume density from signed distance, so that a field's surface and its radiance are one geometry."""

import math

import torch
from torch import Tensor, nn


class LaplaceDensity(nn.Module):
    """density = Ψ_β(-sdf) / β with Ψ_β the CDF of the Laplace distribution (VolSDF, Yariv et al. 2021, eq. 2-3).

    β (box units) is the half-width over which a surface fades. It is learned, from `initial`, never below `smallest`.
    """

    def __init__(self, initial: float = 0.015, smallest: float = 0.003):
        super().__init__()
        if not 0 < smallest < initial:
            raise ValueError(f"LaplaceDensity needs 0 < smallest < initial, got smallest={smallest}, initial={initial}")
        self.smallest = smallest
        self.log_beta = nn.Parameter(torch.tensor(math.log(initial - smallest)))

    @property
    def beta(self) -> Tensor:
        return self.smallest + self.log_beta.exp()  # ()

    def forward(self, sdf: Tensor) -> Tensor:
        """sdf (B, N) → density (B, N), per box unit."""
        beta = self.beta
        half = 0.5 * torch.exp(-sdf.abs() / beta)  # (B, N)
        return torch.where(sdf > 0, half, 1 - half) / beta  # (B, N)
