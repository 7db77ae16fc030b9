"""Point clouds → tokens before the bottleneck."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from fieldforge.autoencoder.pooling import scatter_mean
from fieldforge.nn.attention import Attention
from fieldforge.nn.embeddings import positional_encoding, positional_encoding_width
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.nn.transformer import FeedForward, Transformer
from fieldforge.ranges import Count, Whole

SURFACE_WIDTH = 9  # position, normal, sRGB
APPEARANCE_WIDTH = 6


def appearance(surface: Tensor) -> Tensor:
    """Normals and colours of surface (B, N, 9), colours spread to [-1, 1]: (B, N, 6)."""
    return torch.cat([surface[..., 3:6], 2 * surface[..., 6:] - 1], -1)


class Encoder(nn.Module, ABC):
    """The fields of a batch that it `reads`, such as surface (B, N, 9) → (B, T, C), before the bottleneck.

    reads: names of the fields in a batch, in the order of `forward`; `input` of shapes is position · normal · sRGB.
    deviations: what the latents' channels (C,) get for the diffusion, where they do not all get 1. What matters more
    gets more: the diffusion makes it first, and errs less in it.
    """

    reads: tuple[str, ...] = ("input",)
    latent_shape: LatentShape
    deviations: tuple[float, ...] | None = None

    @abstractmethod
    def forward(self, *fields: Any, **options: Any) -> Tensor: ...


class RandomEncoder(Encoder):
    """An encoder that draws in training mode, and then needs `randomness: Randomness | None = None`."""


class TokenHead(nn.Module):
    """Tokens → transformer → latent channels before tanh: (B, T, width) → (B, T, C)."""

    def __init__(self, tokens: int, width: int, heads: int, layers: int, channels: int):
        super().__init__()
        self.positions = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.transformer = Transformer(width, heads, layers)
        self.to_latent = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.to_latent(self.transformer(tokens + self.positions))


class PointLatticeEncoder(Encoder):
    """Points are averaged in fine cells of a lattice; patches of `patch`³ cells become the cells³ tokens.

    Convolutional Occupancy Networks' local pooling (Peng et al. 2020, section 3.1) with a vision transformer's patches
    in place of 3-D convolutions. Token order is that of `LatticeField`.
    """

    def __init__(
        self,
        cells: Count = 8,
        patch: Count = 4,
        point_width: Count = 32,
        width: Count = 256,
        heads: Count = 4,
        layers: Whole = 4,
        channels: Count = 16,
        degrees: Whole = 5,
    ):
        super().__init__()
        self.cells, self.patch, self.degrees = cells, patch, degrees
        self.latent_shape = LatentShape(cells**3, channels, (cells, cells, cells))
        inputs = 3 + positional_encoding_width(degrees) + SURFACE_WIDTH - 3
        self.embed = nn.Sequential(
            nn.Linear(inputs, 2 * point_width), nn.GELU(), nn.Linear(2 * point_width, point_width)
        )
        self.to_token = nn.Linear(patch**3 * point_width, width)
        self.head = TokenHead(cells**3, width, heads, layers, channels)

    def forward(self, surface: Tensor) -> Tensor:
        c, p = self.cells, self.patch
        points = surface[..., :3]
        scaled = ((points + 1) * (c * p / 2)).clamp(0, c * p - 1e-3)  # (B, N, 3) in fine cells
        cell = scaled.floor()  # (B, N, 3)
        inputs = [2 * (scaled - cell) - 1, positional_encoding(points, self.degrees), appearance(surface)]
        features = self.embed(torch.cat(inputs, -1)).float()  # (B, N, point width)
        x, y, z = cell.long().unbind(-1)  # (B, N) each
        pooled = scatter_mean(features, (x * c * p + y) * c * p + z, (c * p) ** 3)  # (B, (c · p)³, point width)
        patches = pooled.view(-1, c, p, c, p, c, p, pooled.shape[-1]).permute(0, 1, 3, 5, 2, 4, 6, 7)
        return self.head(self.to_token(patches.reshape(len(surface), c**3, -1)))


class PerceiverEncoder(Encoder):
    """Learned queries read the points by cross-attention, then look at each other (Perceiver, Jaegle et al. 2021).

    Shap-E's encoder (Jun & Nichol 2023, section 4.1) without its views: here the points carry normals and colours.
    """

    def __init__(
        self,
        tokens: Count = 1024,
        width: Count = 1024,
        heads: Count = 8,
        layers: Whole = 11,
        channels: Count = 1024,
        degrees: Whole = 5,
    ):
        super().__init__()
        self.degrees = degrees
        self.latent_shape = LatentShape(tokens, channels)
        self.embed = nn.Linear(positional_encoding_width(degrees) + SURFACE_WIDTH - 3, width)
        self.queries = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.norm_points, self.norm_queries = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read = Attention(width, heads, context_width=width)
        self.feed = nn.Sequential(nn.LayerNorm(width), FeedForward(width))
        self.head = TokenHead(tokens, width, heads, layers, channels)

    def forward(self, surface: Tensor) -> Tensor:
        encoded = torch.cat([positional_encoding(surface[..., :3], self.degrees), appearance(surface)], -1)
        points = self.norm_points(self.embed(encoded))  # (B, N, width)
        queries = self.queries.expand(len(surface), -1, -1)  # (B, T, width)
        tokens = queries + self.read(self.norm_queries(queries), points)  # (B, T, width)
        return self.head(tokens + self.feed(tokens))
