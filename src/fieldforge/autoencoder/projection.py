"""Latent tokens → rows of the field's parameters."""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.nn.convolution import ConvolutionUp
from fieldforge.nn.linear import pass_through


class PerRowProjection(nn.Module):
    """Every token has linear maps of its own to its share of the rows of each parameter.

    Shap-E (Jun & Nichol 2023), section 4.1 and released configuration: with as many tokens as rows, token i makes row
    i; LayerNorm afterwards, its gain initialised to `gain`. Fewer tokens make several rows each.
    """

    def __init__(
        self, tokens: int, width: int, channels: int, param_shapes: dict[str, tuple[int, int]], gain: float = 0.0625
    ):
        super().__init__()
        self.shapes = param_shapes
        self.maps, self.norms = nn.ParameterDict(), nn.ModuleDict()
        rows = sum(r for r, _ in param_shapes.values())
        if rows % tokens and tokens % rows:
            raise ValueError(f"PerRowProjection: {rows} rows and {tokens} tokens, one must be a multiple of the other")
        self.row_of_token = torch.arange(rows) * tokens // rows  # row → its token
        first = 0
        self.spans: dict[str, tuple[int, int]] = {}
        for name, (count, row_width) in param_shapes.items():
            self.spans[name] = (first, first + count)
            self.maps[name] = nn.Parameter(torch.randn(count, width, row_width) / math.sqrt(width))
            norm = nn.LayerNorm(row_width)
            nn.init.constant_(norm.weight, gain)
            self.norms[name] = norm
            first += count

    def forward(self, tokens: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """tokens (B, T, width), made of latents (B, T, C) → {name: (B, rows, row width)}."""
        rows = tokens[:, self.row_of_token.to(tokens.device)]  # (B, rows, width)
        params = {}
        for name, (start, stop) in self.spans.items():
            made = torch.einsum("brc,rcw->brw", rows[:, start:stop], self.maps[name])  # (B, rows of name, row width)
            params[name] = self.norms[name](made)
        return params


class SpatialProjection(nn.Module, ABC):
    """Tokens are places and make the spatial parameter; each other row is a linear map of the tokens' mean.

    Places look alike wherever they are, so what makes the spatial parameter is shared between them.
    """

    spatial: str  # name of the spatial parameter

    def __init__(self, width: int, channels: int, param_shapes: dict[str, tuple[int, int]]):
        super().__init__()
        if self.spatial not in param_shapes:
            raise ValueError(f"{type(self).__name__}: the field has no '{self.spatial}', only {sorted(param_shapes)}")
        rest = {name: shape for name, shape in param_shapes.items() if name != self.spatial}
        # A gain of zero: the field starts with its shared weights, and learns before they differ between assets.
        self.per_row = PerRowProjection(1, width, channels, rest, gain=0.0) if rest else None

    @abstractmethod
    def make(self, tokens: Tensor, latents: Tensor) -> Tensor:
        """tokens (B, T, width), latents (B, T, C) → the spatial parameter (B, rows, row width)."""

    def forward(self, tokens: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """tokens (B, T, width), made of latents (B, T, C) → {name: (B, rows, row width)}."""
        params = {self.spatial: self.make(tokens, latents)}
        if self.per_row is not None:
            params |= self.per_row(tokens.mean(dim=1, keepdim=True), latents)
        return params


class LatticeProjection(SpatialProjection):
    """cells³ tokens → patches of a lattice, by one linear map shared between the tokens."""

    spatial = "lattice"

    def __init__(self, tokens: int, width: int, channels: int, param_shapes: dict[str, tuple[int, int]]):
        super().__init__(width, channels, param_shapes)
        rows, features = param_shapes[self.spatial]
        self.cells, resolution = round(tokens ** (1 / 3)), round(rows ** (1 / 3))
        self.patch, self.features = resolution // self.cells, features
        if self.cells**3 != tokens or self.cells * self.patch != resolution:
            raise ValueError(f"LatticeProjection: {tokens} tokens are no cubic cells of a {resolution}³ lattice")
        self.to_patch = nn.Linear(width, self.patch**3 * features)

    def make(self, tokens: Tensor, latents: Tensor) -> Tensor:
        c, p = self.cells, self.patch
        patches = self.to_patch(tokens).view(-1, c, c, c, p, p, p, self.features)  # (B, x, y, z, px, py, pz, F)
        return patches.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(len(tokens), -1, self.features)  # (B, (c · p)³, F)


class PlanesProjection(SpatialProjection):
    """3 · cells² tokens → three planes of features, by convolutions that double the resolution.

    Beside them, latents reach the features by a linear map alone (`pass_through`), interpolated.
    """

    spatial = "planes"

    def __init__(
        self,
        tokens: int,
        width: int,
        channels: int,
        param_shapes: dict[str, tuple[int, int]],
        convolution_width: int = 32,
    ):
        super().__init__(width, channels, param_shapes)
        rows, self.features = param_shapes[self.spatial]
        self.cells, resolution = math.isqrt(tokens // 3), math.isqrt(rows // 3)
        levels = round(math.log2(resolution / self.cells))
        if 3 * self.cells**2 != tokens or self.cells * 2**levels != resolution:
            raise ValueError(f"PlanesProjection: {tokens} tokens do not double to three planes of {resolution}²")
        self.up = ConvolutionUp(width, convolution_width, self.features, levels)
        self.shortcut = pass_through(channels, self.features)

    def make(self, tokens: Tensor, latents: Tensor) -> Tensor:
        images = tokens.reshape(-1, self.cells, self.cells, tokens.shape[-1]).permute(
            0, 3, 1, 2
        )  # (B · 3, width, c, c)
        made = self.up(images)  # (B · 3, F, R, R)
        straight = self.shortcut(latents).reshape(-1, self.cells, self.cells, self.features).permute(0, 3, 1, 2)
        made = made + F.interpolate(straight, made.shape[-2:], mode="bilinear", align_corners=False)
        planes = made.permute(0, 2, 3, 1)  # (B · 3, R, R, F)
        return planes.reshape(len(tokens), -1, self.features)  # (B, 3 · R², F)
