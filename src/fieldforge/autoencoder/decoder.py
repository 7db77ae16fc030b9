"""Latents → field parameters: tokens look at each other, then each is projected to its rows."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fieldforge.nn.transformer import Transformer
from fieldforge.ranges import Count, Whole


class Decoder(nn.Module):
    """Linear to `width`, learned positions, `layers` transformer blocks, norm, projection.

    Shap-E's decoder is the projection alone: `layers` = 0 and `width` = latent channels.
    """

    def __init__(
        self,
        tokens: int,
        channels: int,
        width: Count,
        heads: Count,
        layers: Whole,
        projection: Callable[[int, int, int, dict[str, tuple[int, int]]], nn.Module],
        param_shapes: dict[str, tuple[int, int]],
    ):
        super().__init__()
        self.from_latent = nn.Linear(channels, width)
        self.positions = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.transformer = Transformer(width, heads, layers)
        self.norm = nn.LayerNorm(width)
        self.projection = projection(tokens, width, channels, param_shapes)

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        """latents (B, T, C) → {name: (B, rows, row width)}."""
        h = self.from_latent(latents) + self.positions  # (B, T, width)
        return self.projection(self.norm(self.transformer(h)), latents)
