"""Latents in three planes: points → images of features → latents, and back to the planes of a field.

Axis letters: R pixels along a plane's side, c cells along it (one latent token each).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.autoencoder.encoders import APPEARANCE_WIDTH, SURFACE_WIDTH, Encoder, appearance
from fieldforge.autoencoder.pooling import scatter_mean
from fieldforge.autoencoder.projection import PerRowProjection
from fieldforge.fields.lattice import PLANES
from fieldforge.nn.convolution import ChannelNorm, ConvolutionDown, ConvolutionUp, NormedConvolution, PixelLinear
from fieldforge.nn.embeddings import positional_encoding, positional_encoding_width
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.nn.linear import pass_through
from fieldforge.nn.transformer import Transformer
from fieldforge.ranges import Count, Whole

PATCH = 4  # cells along the side of a patch: tokens that follow each other are neighbours in both directions


def to_tokens(images: Tensor) -> Tensor:
    """(B · 3, C, c, c) → (B, 3 · c², C): plane by plane, patch by patch, row by row of a patch."""
    side = images.shape[-1] // PATCH
    patches = images.reshape(len(images), -1, side, PATCH, side, PATCH).permute(0, 2, 4, 3, 5, 1)
    return patches.reshape(len(images) // 3, -1, images.shape[1])


def to_images(tokens: Tensor) -> Tensor:
    """(B, 3 · c², C) → (B · 3, C, c, c), the inverse of `to_tokens`."""
    side = math.isqrt(tokens.shape[1] // 3) // PATCH
    patches = tokens.reshape(-1, side, side, PATCH, PATCH, tokens.shape[-1]).permute(0, 5, 1, 3, 2, 4)
    return patches.reshape(-1, tokens.shape[-1], side * PATCH, side * PATCH)


class Waist(nn.Module):
    """The planes see each other: images + change, by a transformer on all planes' tokens at half the resolution.

    (B · 3, channels, c, c) → the same, and the transformer's tokens (B, 3 · (c / 2)², width). What is local passes
    beside it, so that latents may be fine and the transformer short.
    """

    def __init__(self, channels: int, cells: int, width: int, heads: int, layers: int):
        super().__init__()
        self.down = NormedConvolution(channels, width, stride=2)
        self.positions = nn.Parameter(torch.randn(3 * (cells // 2) ** 2, width) * 0.02)
        self.transformer = Transformer(width, heads, layers)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), NormedConvolution(width, channels))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        small = self.down(images).permute(0, 2, 3, 1)  # (B · 3, c / 2, c / 2, width)
        tokens = small.reshape(len(images) // 3, -1, small.shape[-1]) + self.positions  # (B, 3 · (c / 2)², width)
        tokens = self.norm(self.transformer(tokens))
        return images + self.up(tokens.reshape(small.shape).permute(0, 3, 1, 2)), tokens


class PointPlanesEncoder(Encoder):
    """Points are averaged in the pixels of three planes; convolutions and a `Waist` make cells² tokens of each plane.

    Convolutional Occupancy Networks' planes (Peng et al. 2020, section 3.1), a transformer in place of the inner part
    of their U-Net. R = cells · 2^levels. A learnable shortcut hands the mean normal and colour of a cell to the last
    latent channels (`pass_through`).
    """

    def __init__(
        self,
        cells: Count = 16,
        levels: Whole = 2,
        point_width: Count = 16,
        convolution_width: Count = 32,
        width: Count = 256,
        heads: Count = 4,
        layers: Whole = 3,
        channels: Count = 8,
        degrees: Whole = 5,
    ):
        super().__init__()
        if cells % PATCH:
            raise ValueError(f"PointPlanesEncoder: cells={cells} must be a multiple of {PATCH}")
        self.cells, self.resolution, self.degrees = cells, cells * 2**levels, degrees
        self.latent_shape = LatentShape(3 * cells**2, channels)  # three grids, patch by patch
        inputs = 3 + positional_encoding_width(degrees) + SURFACE_WIDTH - 3
        middle = convolution_width * 2**levels
        self.embed = nn.Sequential(nn.Linear(inputs, 64), nn.GELU(), nn.Linear(64, point_width))
        self.down = ConvolutionDown(point_width, convolution_width, middle, levels)
        self.waist = Waist(middle, cells, width, heads, layers)
        self.to_latent = nn.Sequential(ChannelNorm(middle), PixelLinear(middle, channels))
        self.shortcut = pass_through(APPEARANCE_WIDTH, channels)

    def forward(self, surface: Tensor) -> Tensor:
        r, points = self.resolution, surface[..., :3]
        scaled = ((points + 1) * (r / 2)).clamp(0, r - 1e-3)  # (B, N, 3) in pixels
        pixel = scaled.floor()  # (B, N, 3)
        inputs = [2 * (scaled - pixel) - 1, positional_encoding(points, self.degrees), appearance(surface)]
        features = self.embed(torch.cat(inputs, -1)).float()  # (B, N, point width)
        images, _ = self.waist(self.down(in_planes(features, pixel.long(), r)))  # (B · 3, middle, c, c)
        coarse = pixel.long().div(r // self.cells, rounding_mode="floor")  # (B, N, 3) in cells
        look = to_tokens(in_planes(appearance(surface), coarse, self.cells))  # (B, T, 6)
        return to_tokens(self.to_latent(images)) + self.shortcut(look)


def in_planes(values: Tensor, place: Tensor, resolution: int) -> Tensor:
    """Means of the values (B, N, W) in each pixel of the planes, place (B, N, 3) in pixels: (B · 3, W, R, R)."""
    r = resolution
    planes = [scatter_mean(values, place[..., u] * r + place[..., v], r * r) for u, v in PLANES]  # (B, R², W) each
    return torch.stack(planes, 1).reshape(-1, r, r, values.shape[-1]).permute(0, 3, 1, 2)


class PlanesDecoder(nn.Module):
    """Latents in planes → the parameters of a `TriplaneField`: a `Waist`, then convolutions that double the resolution.

    Beside them, latents reach the planes by a linear map alone (`pass_through`), interpolated. The field's generated
    weights come from the mean of the waist's tokens; their gain starts at zero, so that the field begins with its
    shared weights and learns before they differ between assets.
    """

    def __init__(
        self,
        tokens: int,
        channels: int,
        param_shapes: dict[str, tuple[int, int]],
        width: Count = 256,
        heads: Count = 4,
        layers: Whole = 3,
        convolution_width: Count = 32,
    ):
        super().__init__()
        if "planes" not in param_shapes:
            raise ValueError(f"PlanesDecoder: the field has no 'planes', only {sorted(param_shapes)}")
        rows, self.features = param_shapes["planes"]
        cells, resolution = math.isqrt(tokens // 3), math.isqrt(rows // 3)
        levels = round(math.log2(resolution / cells))
        if 3 * cells**2 != tokens or cells * 2**levels != resolution:
            raise ValueError(f"PlanesDecoder: {tokens} tokens do not double to three planes of {resolution}²")
        middle = convolution_width * 2**levels
        self.from_latent = nn.Conv2d(channels, middle, 3, padding=1)
        self.waist = Waist(middle, cells, width, heads, layers)
        self.up = ConvolutionUp(middle, convolution_width, self.features, levels)
        self.shortcut = pass_through(channels, self.features)
        rest = {name: shape for name, shape in param_shapes.items() if name != "planes"}
        self.per_row = PerRowProjection(1, width, channels, rest, gain=0.0) if rest else None

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        """latents (B, T, C) → {name: (B, rows, row width)}."""
        images, tokens = self.waist(self.from_latent(to_images(latents)))  # (B · 3, middle, c, c), (B, ·, width)
        planes = self.up(images)  # (B · 3, F, R, R)
        straight = to_images(self.shortcut(latents))  # (B · 3, F, c, c)
        planes = planes + F.interpolate(straight, planes.shape[-2:], mode="bilinear", align_corners=False)
        params = {"planes": planes.permute(0, 2, 3, 1).reshape(len(latents), -1, self.features)}  # (B, 3 · R², F)
        return params if self.per_row is None else params | self.per_row(tokens.mean(dim=1, keepdim=True), latents)
