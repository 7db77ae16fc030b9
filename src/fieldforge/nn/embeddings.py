"""Embeddings of numbers as vectors: positions in space and noise levels."""

import math

import torch
from torch import Tensor, nn


def positional_encoding(points: Tensor, degrees: int, slowest: float = math.pi) -> Tensor:
    """(x, sin(2^k ω x), cos(2^k ω x)) for k = 0 … degrees-1, ω = `slowest`: (..., D) → (..., D · (1 + 2 · degrees)).

    NeRF (Mildenhall et al. 2020), eq. 4, with the point itself in front; Shap-E has ω = 1. Points are in box units,
    [-1, 1].
    """
    if degrees == 0:
        return points
    frequencies = slowest * 2.0 ** torch.arange(degrees, device=points.device, dtype=points.dtype)
    angles = (points[..., None, :] * frequencies[:, None]).flatten(-2)  # (..., degrees · D)
    return torch.cat([points, angles.sin(), angles.cos()], dim=-1)


def positional_encoding_width(degrees: int, dimensions: int = 3) -> int:
    """Width of `positional_encoding` of points with that many dimensions."""
    return dimensions * (1 + 2 * degrees)


def sinusoidal_embedding(values: Tensor, width: int, highest: float = 1000.0) -> Tensor:
    """cos and sin of `values` (B,), times width/2 frequencies from 1 to `highest` in geometric steps: (B, width).

    Vaswani et al. 2017, section 3.5. Meant for values of order 1: the slowest wave tells the whole range apart, the
    fastest resolves steps of a thousandth. Never computed below float32.
    """
    if width % 2 or width < 4:
        raise ValueError(f"sinusoidal_embedding needs an even width of at least 4, got {width}")
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    exponents = torch.linspace(0, 1, width // 2, device=values.device, dtype=values.dtype)
    angles = values[:, None] * torch.exp(exponents * math.log(highest))  # (B, width / 2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class NoiseLevelEmbedding(nn.Module):
    """noise_level (B,) of order 1 → (B, width): sinusoids, then Linear, SiLU, Linear (DDPM, Ho et al. 2020)."""

    def __init__(self, width: int, waves: int = 256):
        super().__init__()
        self.waves = waves
        self.project = nn.Sequential(nn.Linear(waves, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, noise_level: Tensor) -> Tensor:
        return self.project(sinusoidal_embedding(noise_level, self.waves))
