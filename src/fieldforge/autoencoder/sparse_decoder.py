"""Latents of active cells → the parameters of a `CellField`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fieldforge.autoencoder.pooling import scatter_mean
from fieldforge.autoencoder.sparse_encoder import START, stretched
from fieldforge.fields.cell_field import corner_grid
from fieldforge.fields.quadric_field import COEFFICIENTS, monomials, moved
from fieldforge.nn.cells import ActiveCells, CellNetwork, surface_share
from fieldforge.nn.push_pull import push_pull_tokens
from fieldforge.nn.true_places import true_places
from fieldforge.nn.winding import WindingNumber
from fieldforge.ranges import Count, Sides, Whole

FLAT_SECTION = 2 / 3  # mean area in which a plane cuts a cell, in areas of its face


class SparseDecoder(nn.Module):
    """Active cells look at those around them, then each makes the features at its own lattice points.

    The first feature starts as the cell's quadric (which a `QuadricField` reads itself), the next three as its colour:
    a surface is there before anything is learned. Points that cells share get the mean of their features, which makes
    the field continuous. Where no cell is active the side is that of the winding number of the cells' dipoles (learned;
    at first their normals).
    """

    def __init__(
        self,
        tokens: int,
        channels: int,
        param_shapes: dict[str, tuple[int, int]],
        sides: Sides = 4,
        width: Count = 160,
        layers: Whole = 4,
        narrow: Count = 40,
    ):
        super().__init__()
        self.cells, self.sides, corners = round(tokens ** (1 / 3)), sides, (sides + 1) ** 3
        self.grid = (self.cells,) * 3
        rows, row_width = param_shapes.get("cells", (0, 0))
        self.features, self.reads_quadrics = row_width // corners, "quadrics" in param_shapes
        if rows != tokens or self.features * corners != row_width:
            raise ValueError(
                f"SparseDecoder: the field must be a CellField of {tokens} cells with sides={sides}, and has the "
                f"parameters {param_shapes}"
            )
        self.from_latent = nn.Linear(channels - 1, width)
        self.network = CellNetwork(self.cells, width, layers, narrow)
        self.norm, self.to_features = nn.LayerNorm(width), nn.Linear(width, row_width)
        self.to_dipole = nn.Linear(width, 3)
        self.winding = WindingNumber(self.cells)
        with torch.no_grad():
            self.to_features.weight.normal_(std=0.02)
            for values in (self.to_features.weight, self.to_features.bias):
                values.view(corners, self.features, -1)[:, 0] = 0  # of the distance: the quadric is better than noise
            self.to_dipole.weight.zero_()
            self.to_dipole.bias.zero_()
        self.corners: Tensor
        self.register_buffer("corners", monomials(corner_grid(sides)), persistent=False)  # ((s + 1)³, 10)

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        """latents (B, c³, 1 + channels) → {"cells": (B, M, (s + 1)³ · F), "table": (B, c³, 1), "winding": (B, c³, 1),
        "colors": (B, c³, 3)}, the parameters of a `CellField`; those of a `QuadricField` with "quadrics": (B, M, 10).

        M: active cells of the sample that has most. Cells that are not active have the colour of those around them.
        """
        active = ActiveCells.of(latents[..., 0] > 0, self.cells)
        tokens = latents[..., 1:].flatten(0, 1).index_select(0, active.flat)  # (A, channels)
        x = self.norm(self.network(self.from_latent(tokens), active))  # (A, width)
        features, dipole = self.to_features(x).float(), self.to_dipole(x).float()  # (A, (s + 1)³ · F), (A, 3)
        with torch.autocast(latents.device.type, enabled=False):
            coefficients = stretched(tokens[:, :COEFFICIENTS].float())  # (A, 10)
            color = tokens[:, COEFFICIENTS:START].float().clamp(-0.995, 0.995).atanh()  # (A, 3)
            features = features.unflatten(1, (len(self.corners), self.features)) + self._start(coefficients, color)
            normal = nn.functional.normalize(coefficients[:, 1:4], dim=-1) * FLAT_SECTION
            winding = self.winding(self._on_grid(normal + dipole, active).unflatten(1, self.grid))  # (B, c, c, c)
            rows = {"cells": self._shared(features, active).flatten(1)}
            if self.reads_quadrics:
                rows["quadrics"] = moved(coefficients, 2.0 * active.place + 1 - self.cells)
        slot = active.slot
        most = max(1, int(slot.max()) + 1) if len(slot) else 1
        table = winding.new_full((latents[..., 0].numel(),), -1).index_copy(0, active.flat, slot.to(winding))
        of_samples = {
            name: values.new_zeros(len(latents) * most, values.shape[1])
            .index_copy(0, active.sample * most + slot, values)
            .view(len(latents), most, -1)
            for name, values in rows.items()
        }
        return {
            **of_samples,
            "table": table.view(len(latents), -1, 1),
            "winding": winding.reshape(len(latents), -1, 1),
            "colors": self._everywhere(tokens[:, COEFFICIENTS:START].float(), active),
        }

    def _start(self, coefficients: Tensor, color: Tensor) -> Tensor:
        """What features (A, (s + 1)³, F) start as: the quadric, unless the field reads it itself, and the colour."""
        if self.reads_quadrics:
            first = coefficients.new_zeros(len(coefficients), len(self.corners))  # (A, (s + 1)³)
        else:
            first = (coefficients @ self.corners.T).clamp(-2, 2)
        start = torch.cat([first[..., None], color[:, None].expand(-1, first.shape[1], -1)], -1)
        return nn.functional.pad(start, (0, self.features - start.shape[-1]))

    def _on_grid(self, values: Tensor, active: ActiveCells) -> Tensor:
        """values (A, W) → (B, c³, W), zeros where no cell is active."""
        empty = values.new_zeros(active.batch * self.cells**3, values.shape[1])
        return empty.index_copy(0, active.flat, values).view(active.batch, -1, values.shape[1])

    def _everywhere(self, values: Tensor, active: ActiveCells) -> Tensor:
        """values (A, W) of the active cells → (B, c³, W): the others have those of cells around them."""
        known = self._on_grid(torch.ones_like(values[:, :1]), active)  # (B, c³, 1)
        return push_pull_tokens(self._on_grid(values, active), known, self.grid)

    def _shared(self, features: Tensor, active: ActiveCells) -> Tensor:
        """Features (A, (s + 1)³, F) with their mean at each lattice point that several cells have."""
        s, side = self.sides, self.cells * self.sides + 1
        steps = torch.arange(s + 1, device=features.device)
        x, y, z = (s * active.place).unbind(-1)  # (A,) each
        x, y, z = (
            x[:, None, None, None] + steps[:, None, None],
            y[:, None, None, None] + steps[:, None],
            z[:, None, None, None] + steps,
        )
        flat = (((active.sample[:, None, None, None] * side + x) * side + y) * side + z).flatten()  # (A · (s + 1)³,)
        covered = torch.zeros(active.batch * side**3, dtype=torch.bool, device=features.device).index_fill(
            0, flat, True
        )
        number = (covered.cumsum(0, dtype=torch.int32) - 1).index_select(0, flat).long()  # among the covered points
        points = len(true_places(covered, surface_share(self.cells)))
        means = scatter_mean(features.flatten(0, 1)[None], number[None], points)[0]
        return means.index_select(0, number).view_as(features)
