"""Compact latents → sparse ones: which cells are active, and what is in them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fieldforge.autoencoder.sparse_encoder import START
from fieldforge.errors import UserError
from fieldforge.fields.quadric_field import COEFFICIENTS
from fieldforge.nn.cells import ActiveCells, CellNetwork
from fieldforge.nn.grouping import Patches
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.nn.transformer import Transformer
from fieldforge.ranges import Count, Whole

COLOR_SCALE = 3.0  # of a box's mean colour in sparse latents of unit scale over that in compact ones


class CompactDecoder(nn.Module):
    """Tokens see each other, each then makes features of the cells of its box; active cells look at those around them.

    The first three channels of tokens are added to the colour of cells, interpolated between the middles of boxes: one
    colour for each box would show its edges. Letters as in `compact.py`; F features of a cell.

    Args:
        shape: of the sparse latents.
        channels: C of the compact ones.
        group: cells of a box, as the encoder has it.
        width, heads, layers: of the transformer on tokens.
        features: F.
        cell_width, cell_layers, narrow: of the network on active cells.
    """

    def __init__(
        self,
        shape: LatentShape,
        channels: int,
        group: Count = 64,
        width: Count = 320,
        heads: Count = 5,
        layers: Whole = 4,
        features: Count = 24,
        cell_width: Count = 128,
        cell_layers: Whole = 2,
        narrow: Count = 32,
    ):
        super().__init__()
        if shape.grid is None or len(set(shape.grid)) != 1 or len(shape.grid) != 3:
            raise UserError("autoencoder.base: compact latents are of cells in a cube, as autoencoder=sparse has them")
        self.side = shape.grid[0]
        self.patches = Patches(shape.tokens, group, "autoencoder.decoder.group", shape.grid)
        self.from_latent = nn.Linear(channels, width)
        self.positions = nn.Parameter(torch.randn(self.patches.tokens, width) * 0.02)
        self.transformer = Transformer(width, heads, layers)
        self.to_cells = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.patches.size * features))
        self.to_activity = nn.Sequential(nn.GELU(), nn.Linear(features, 1))
        self.to_cell = nn.Linear(features + 3, cell_width)
        self.network = CellNetwork(self.side, cell_width, cell_layers, narrow, expansion=2)
        self.to_channels = nn.Sequential(nn.LayerNorm(cell_width), nn.Linear(cell_width, shape.channels - 1))

    def cells(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """latents (B, T, C) → features and colour (B, U, F + 3), activity (B, U), positive where a cell is active."""
        tokens = self.transformer(self.from_latent(latents) + self.positions)  # (B, T, width)
        features = self.patches.split(self.to_cells(tokens))  # (B, U, F)
        grid = latents[..., :3].transpose(1, 2).unflatten(2, self.patches.grid)  # (B, 3, t, t, t)
        color = nn.functional.interpolate(grid, (self.side,) * 3, mode="trilinear").flatten(2)  # (B, 3, U)
        color = color.transpose(1, 2).to(features)
        return torch.cat([features, color], -1), self.to_activity(features)[..., 0]

    def channels_of(self, features: Tensor, active: ActiveCells) -> Tensor:
        """features and colour (B, U, F + 3) → channels (A, D) of unit scale of the active cells."""
        cells = features.flatten(0, 1).index_select(0, active.flat)  # (A, F + 3)
        channels = self.to_channels(self.network(self.to_cell(cells), active)).float()
        after = channels.shape[1] - START
        return channels + nn.functional.pad(COLOR_SCALE * cells[:, -3:].float(), (COEFFICIENTS, after))
