"""A field that lives in the active cells of a grid."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.fields.base import Field, Params, Values
from fieldforge.fields.density import LaplaceDensity
from fieldforge.fields.shape_heads import SHAPE_HEADS
from fieldforge.ranges import Cells, Count, Sides

LOGIT_OF_COLOR = 2.0  # a colour in [-1, 1] as the argument of a sigmoid: its slope at grey


class CellField(Field):
    """Features at the lattice points of active cells, read trilinearly by small perceptrons; elsewhere inside or
    outside.

    In an active cell signed distance = half a cell · (first feature + perceptron), colour = sigmoid of (the next three
    + perceptron). Where no cell is active the field is far from the surface: ±1 cell, by the winding number (0.5 and
    less: outside); winding numbers and colours are read between cells' centres there. c cells along an axis of the box,
    s parts along a cell.

    Parameters: `cells` (as many rows as the sample with most active cells, at most c³; a row holds the (s + 1)³ points
        of a cell, x slowest, with F features each); `table` (c³, 1) is each cell's row or -1; `winding` (c³, 1);
        `colors` (c³, 3) in [-1, 1].
    """

    dimensions = 3
    heads = SHAPE_HEADS
    ragged = frozenset({"cells"})

    def __init__(
        self,
        cells: Cells = 16,
        sides: Sides = 4,
        features: Count = 12,
        hidden: Count = 48,
        density: LaplaceDensity | None = None,
    ):
        super().__init__()
        self.cells, self.sides, self.features = cells, sides, features
        middle = nn.Linear(hidden, hidden)
        self.to_distance = nn.Sequential(
            nn.Linear(features, hidden), nn.SiLU(), middle, nn.SiLU(), small_linear(hidden, 1)
        )
        self.to_color = nn.Sequential(nn.Linear(features, hidden), nn.SiLU(), small_linear(hidden, 3))
        self.density = density or LaplaceDensity()

    @property
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        row = (self.sides + 1) ** 3 * self.features
        return {
            "cells": (self.cells**3, row),
            "table": (self.cells**3, 1),
            "winding": (self.cells**3, 1),
            "colors": (self.cells**3, 3),
        }

    def query(self, points: Tensor, params: Params) -> Values:
        """Points outside of the box are read at its walls."""
        self.check(params)
        points = points.float()
        cell, row = self._find(points, params["table"][..., 0].long())  # (B, N, 3), (B, N)
        live = (row >= 0).flatten().nonzero()[:, 0]  # (M,)
        features = self._features(points, cell, row, live, params["cells"].float())  # (M, F)
        features = self.started(features, points, live, params)
        near = (features[:, 0] + self.to_distance(features).float()[:, 0]) / self.cells
        color = (LOGIT_OF_COLOR * features[:, 1:4] + self.to_color(features).float()).sigmoid()  # (M, 3)
        winding, shade = self._between(points, torch.cat([params["winding"], params["colors"]], -1)).split([1, 3], -1)
        far = (2 - 4 * winding[..., 0]).clamp(-1, 1) * (2 / self.cells)  # (B, N)
        sdf = far.flatten().index_copy(0, live, near).view(row.shape)
        rgb = ((shade.flatten(0, 1) + 1) / 2).index_copy(0, live, color)
        return {"sdf": sdf, "density": self.density(sdf), "rgb": rgb.view(*row.shape, 3)}

    def started(self, features: Tensor, points: Tensor, live: Tensor, params: Params) -> Tensor:
        """The features (M, F) at the points `live` (M,) of B · N, with what is not read from the lattice."""
        return features

    def _between(self, points: Tensor, values: Tensor) -> Tensor:
        """Values of cells (B, c³, W), read trilinearly between their centres: (B, N, W)."""
        volume = values.float().transpose(1, 2).unflatten(2, (self.cells,) * 3)  # (B, W, c, c, c)
        where = points.flip(-1)[:, None, None]  # grid_sample wants the last axis first
        return F.grid_sample(volume, where, padding_mode="border", align_corners=False)[:, :, 0, 0].transpose(1, 2)

    @torch.no_grad()
    def _find(self, points: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Cell (B, N, 3) of each point and its row (B, N); a point between cells belongs to an active one if there
        is."""
        scaled = ((points + 1) * (self.cells / 2)).clamp(0, self.cells)
        high = scaled.floor().clamp(max=self.cells - 1).long()
        low = (scaled.ceil().long() - 1).clamp(min=0)  # differs on the walls between cells
        cell, row = high, self._rows(high, table)
        for corner in range(1, 8):
            lost = (row < 0) & (low < high).any(-1)
            if not lost.any():
                break
            lower = torch.tensor([corner >> axis & 1 for axis in range(3)], dtype=torch.bool, device=points.device)
            other = torch.where(lower, low, high)
            other_row = self._rows(other, table)
            better = lost & (other_row >= 0)
            cell, row = torch.where(better[..., None], other, cell), torch.where(better, other_row, row)
        return cell, row

    def _rows(self, cell: Tensor, table: Tensor) -> Tensor:
        x, y, z = cell.unbind(-1)
        return table.gather(1, (x * self.cells + y) * self.cells + z)

    def _features(self, points: Tensor, cell: Tensor, row: Tensor, live: Tensor, rows: Tensor) -> Tensor:
        """Features (M, F) at the points `live` (M,) of B · N, from the eight lattice points around each."""
        s, corners = self.sides, self.sides + 1
        scaled = (points.flatten(0, 1).index_select(0, live) + 1) * (self.cells / 2)
        local = (scaled - cell.flatten(0, 1).index_select(0, live)).clamp(0, 1) * s  # (M, 3) in parts of the cell
        part = local.detach().floor().clamp(max=s - 1)
        fraction = local - part
        pair = torch.stack([1 - fraction, fraction], -1)  # (M, 3, 2)
        weights = pair[:, 0, :, None, None] * pair[:, 1, None, :, None] * pair[:, 2, None, None, :]  # (M, 2, 2, 2)
        sample = live // points.shape[1]
        first = sample * rows.shape[1] + row.flatten().index_select(0, live)  # (M,) row of the batch
        i, j, k = part.long().unbind(-1)
        first = ((first * corners + i) * corners + j) * corners + k
        steps = [(a * corners + b) * corners + c for a in (0, 1) for b in (0, 1) for c in (0, 1)]
        numbers = first[:, None] + torch.tensor(steps, device=live.device)  # (M, 8)
        table = rows.reshape(-1, self.features)
        return F.embedding_bag(numbers, table, per_sample_weights=weights.flatten(1), mode="sum")


def small_linear(inputs: int, outputs: int) -> nn.Linear:
    """A correction that starts small."""
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return linear


def corner_grid(sides: int) -> Tensor:
    """The (s + 1)³ lattice points of a cell [-1, 1]³ (·, 3), x slowest."""
    along = torch.linspace(-1, 1, sides + 1)
    return torch.stack(torch.meshgrid(along, along, along, indexing="ij"), -1).view(-1, 3)
