"""Convolutional encoder and decoder of pictures. H = W pixels, h = w cells of the latents' grid, T = h · w."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.nn.convolution import (
    ChannelNorm,
    ConvolutionDown,
    ConvolutionUp,
    NormedConvolution,
    PixelLinear,
    ResidualConvolution,
)
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.nn.transformer import Transformer
from fieldforge.ranges import Count, Whole


class Middle(nn.Module):
    """Cells see each other: a convolution, a transformer over all cells, a convolution; (B, W, h, w) → the same.

    Latent diffusion's (Rombach et al. 2022, arXiv 2112.10752) middle block, its attention with a feed-forward part.
    """

    def __init__(self, channels: int, heads: int, layers: int):
        super().__init__()
        self.first, self.last = ResidualConvolution(channels), ResidualConvolution(channels)
        self.transformer = Transformer(channels, heads, layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        tokens = self.transformer(x.flatten(2).transpose(1, 2))  # (B, h · w, W)
        return self.last(tokens.transpose(1, 2).unflatten(2, x.shape[-2:]))


class PictureEncoder(nn.Module):
    """input (B, 3, H, W) in -1…1 → (B, T, channels), `levels` halvings: factor 2^levels.

    A linear map of a cell's mean colour is added to its token, and the decoder adds one of each latent to its pixels:
    a short training learns colours there, not through all convolutions. DC-AE (Chen et al. 2024, arXiv 2410.10733,
    section 3.2) has such short cuts at every level, without weights.

    Args:
        size: H.
        width: channels at full resolution; each level doubles them.
        channels: of a token before the bottleneck.
        heads, layers: of the transformer over all cells.
    """

    def __init__(
        self,
        size: Count,
        levels: Whole = 2,
        width: Count = 32,
        channels: Count = 64,
        heads: Count = 4,
        layers: Whole = 1,
    ):
        super().__init__()
        cells = size // 2**levels
        if cells * 2**levels != size:
            raise ValueError(f"PictureEncoder: size={size} must be a multiple of {2**levels}, 2 to the levels")
        self.latent_shape = LatentShape(cells**2, channels, (cells, cells))
        self.factor, middle = 2**levels, width * 2**levels
        self.down = ConvolutionDown(3, width, middle, levels)
        self.middle = Middle(middle, heads, layers)
        self.to_latent = nn.Sequential(ChannelNorm(middle), PixelLinear(middle, channels))
        self.mean_color = PixelLinear(3, channels)

    def forward(self, pictures: Tensor) -> Tensor:
        h = self.to_latent(self.middle(self.down(pictures)))  # (B, channels, h, w)
        h = h + self.mean_color(F.avg_pool2d(pictures, self.factor))
        return h.flatten(2).transpose(1, 2)  # (B, T, channels)


class PictureDecoder(nn.Module):
    """Latents (B, T, C) → the one parameter of a field of pictures, rows of a square grid: the encoder backwards."""

    def __init__(
        self,
        tokens: int,
        channels: int,
        param_shapes: dict[str, tuple[int, int]],
        width: Count = 32,
        heads: Count = 4,
        layers: Whole = 1,
    ):
        super().__init__()
        ((self.name, (rows, features)),) = param_shapes.items()
        self.cells, size = math.isqrt(tokens), math.isqrt(rows)
        levels = round(math.log2(size / self.cells))
        if self.cells**2 != tokens or levels < 0 or self.cells * 2**levels != size:
            raise ValueError(
                f"PictureDecoder: the field has {size} cells along a side, give it the {self.cells} of the latents "
                "times a power of 2"
            )
        middle = width * 2**levels
        self.from_latent = nn.Conv2d(channels, middle, 3, padding=1)
        self.middle = Middle(middle, heads, layers)
        self.up = ConvolutionUp(middle, width, width, levels)
        self.to_rows, self.coarse = NormedConvolution(width, features), PixelLinear(channels, features)

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        """latents (B, T, C) → {name: (B, rows, row width)}."""
        grid = latents.transpose(1, 2).unflatten(2, (self.cells, self.cells))  # (B, C, h, w)
        rows = self.rows(self.up(self.middle(self.from_latent(grid))), grid)  # (B, row width, H, W)
        return {self.name: rows.flatten(2).transpose(1, 2)}

    def rows(self, x: Tensor, grid: Tensor) -> Tensor:
        """Features (B, width, H, W) and the latents' grid (B, C, h, w) → (B, row width, H, W)."""
        fine = self.to_rows(x)
        return fine + F.interpolate(self.coarse(grid), size=fine.shape[2:], mode="bilinear")
