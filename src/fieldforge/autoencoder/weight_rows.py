"""Shap-E's decoder: each latent is a row of the field's weight matrices, after one linear map of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fieldforge.ranges import Positive


class RowMap(nn.Module):
    """`rows` latents → `rows` vectors: h_r = LayerNorm(W_r z_r) + b_r (Jun & Nichol 2023, section 4.1, and its code).

    Each row has a matrix and a bias of its own; the norm is shared. The gain of the norm starts at `gain`.
    """

    def __init__(self, rows: int, width: int, channels: int, gain: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, width, channels) / math.sqrt(channels))
        self.bias = nn.Parameter(torch.zeros(rows, width))
        self.norm = nn.LayerNorm(width)
        nn.init.constant_(self.norm.weight, gain)

    def forward(self, latents: Tensor) -> Tensor:
        """latents (B, rows, channels) → (B, rows, width)."""
        products = torch.einsum("brc,rwc->brw", latents, self.weight)  # (B, rows, width)
        return self.norm(products) + self.bias


class WeightRows(nn.Module):
    """latents (B, T, C) → {name: (B, rows, width)}: token i is row i of all matrices together.

    Args:
        tokens, channels: T and C of the latents. ValueError unless there is a token for each row.
        gain: of the norms at the start.
    """

    def __init__(self, tokens: int, channels: int, param_shapes: dict[str, tuple[int, int]], gain: Positive = 0.0625):
        super().__init__()
        self.channels = channels
        self.rows = {name: rows for name, (rows, _) in param_shapes.items()}
        if sum(self.rows.values()) != tokens:
            raise ValueError(f"WeightRows: {tokens} tokens for {sum(self.rows.values())} rows of {sorted(self.rows)}")
        self.maps = nn.ModuleDict(
            {name: RowMap(rows, width, channels, gain) for name, (rows, width) in param_shapes.items()}
        )

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        parts = latents.split(list(self.rows.values()), dim=1)  # (B, rows, C) each
        return {name: self.maps[name](part) for name, part in zip(self.rows, parts, strict=True)}
