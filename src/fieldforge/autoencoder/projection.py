"""Latent tokens → rows of the field's parameters."""

import math

import torch
from torch import Tensor, nn


class PerRowProjection(nn.Module):
    """Every token has linear maps of its own to its share of the rows of each parameter.

    Shap-E (Jun & Nichol 2023), section 4.1 and released configuration: with as many tokens as rows, token i makes row i;
    LayerNorm afterwards, its gain initialised to `gain`. Fewer tokens make several rows each.
    """

    def __init__(self, tokens: int, width: int, param_shapes: dict[str, tuple[int, int]], gain: float = 0.0625):
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

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """tokens (B, T, width) → {name: (B, rows, row width)}."""
        rows = tokens[:, self.row_of_token.to(tokens.device)]  # (B, rows, width)
        params = {}
        for name, (start, stop) in self.spans.items():
            made = torch.einsum("brc,rcw->brw", rows[:, start:stop], self.maps[name])  # (B, rows of name, row width)
            params[name] = self.norms[name](made)
        return params


class SpatialProjection(nn.Module):
    """Token i makes row i of the spatial parameter by one map shared between rows; other parameters come per row.

    Tokens of a spatial parameter look alike wherever they lie, so sharing the map learns from every place at once. The
    remaining parameters' rows (a perceptron's weights) are each a linear map of their own of the tokens' mean.
    """

    def __init__(
        self, tokens: int, width: int, param_shapes: dict[str, tuple[int, int]], spatial: str, gain: float = 0.0625
    ):
        super().__init__()
        if spatial not in param_shapes:
            raise ValueError(f"SpatialProjection: the field has no parameter '{spatial}', only {sorted(param_shapes)}")
        rows, row_width = param_shapes[spatial]
        if rows != tokens:
            raise ValueError(f"SpatialProjection: '{spatial}' has {rows} rows and the latent {tokens} tokens: make them equal")
        self.spatial = spatial
        self.to_row = nn.Linear(width, row_width)
        rest = {name: shape for name, shape in param_shapes.items() if name != spatial}
        self.per_row = PerRowProjection(1, width, rest, gain) if rest else None

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """tokens (B, T, width) → {name: (B, rows, row width)}."""
        params = {self.spatial: self.to_row(tokens)}  # (B, T, row width)
        if self.per_row is not None:
            params |= self.per_row(tokens.mean(dim=1, keepdim=True))
        return params
