"""Latent tokens → rows of the field's parameters."""

import math

import torch
from torch import Tensor, nn

from fieldforge.ranges import Positive


class PerRowProjection(nn.Module):
    """Every token has linear maps of its own to its share of the rows of each parameter.

    Shap-E (Jun & Nichol 2023), section 4.1 and released configuration: with as many tokens as rows, token i makes row
    i; LayerNorm afterwards, its gain initialised to `gain`. Fewer tokens make several rows each.
    """

    def __init__(
        self, tokens: int, width: int, channels: int, param_shapes: dict[str, tuple[int, int]], gain: Positive = 0.0625
    ):
        super().__init__()
        self.shapes = param_shapes
        self.maps, self.norms = nn.ParameterDict(), nn.ModuleDict()
        rows = sum(r for r, _ in param_shapes.values())
        if rows % tokens and tokens % rows:
            raise ValueError(f"PerRowProjection: {rows} rows and {tokens} tokens, one must be a multiple of the other")
        self.row_of_token: Tensor  # row → its token
        self.register_buffer("row_of_token", torch.arange(rows) * tokens // rows, persistent=False)
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
        rows = tokens[:, self.row_of_token]  # (B, rows, width)
        params = {}
        for name, (start, stop) in self.spans.items():
            products = torch.einsum(
                "brc,rcw->brw", rows[:, start:stop], self.maps[name]
            )  # (B, rows of name, row width)
            params[name] = self.norms[name](products)
        return params


class LatticeProjection(nn.Module):
    """cells³ tokens → patches of a lattice, by one linear map; each other row is a linear map of the tokens' mean.

    Cells look alike wherever they are, so the map is shared between them. The generated weights' gain starts at zero:
    the field begins with its shared weights, and learns before they differ between assets.
    """

    def __init__(self, tokens: int, width: int, channels: int, param_shapes: dict[str, tuple[int, int]]):
        super().__init__()
        if "lattice" not in param_shapes:
            raise ValueError(f"LatticeProjection: the field has no 'lattice', only {sorted(param_shapes)}")
        rows, self.features = param_shapes["lattice"]
        self.cells, resolution = round(tokens ** (1 / 3)), round(rows ** (1 / 3))
        self.patch = resolution // self.cells
        if self.cells**3 != tokens or self.cells * self.patch != resolution:
            raise ValueError(f"LatticeProjection: {tokens} tokens are no cubic cells of a {resolution}³ lattice")
        self.to_patch = nn.Linear(width, self.patch**3 * self.features)
        rest = {name: shape for name, shape in param_shapes.items() if name != "lattice"}
        self.per_row = PerRowProjection(1, width, channels, rest, gain=0.0) if rest else None

    def forward(self, tokens: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """tokens (B, T, width), made of latents (B, T, C) → {name: (B, rows, row width)}."""
        c, p = self.cells, self.patch
        patches = self.to_patch(tokens).view(-1, c, c, c, p, p, p, self.features)  # (B, x, y, z, px, py, pz, F)
        lattice = patches.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(len(tokens), -1, self.features)  # (B, (c · p)³, F)
        params = {"lattice": lattice}
        return params if self.per_row is None else params | self.per_row(tokens.mean(dim=1, keepdim=True), latents)
