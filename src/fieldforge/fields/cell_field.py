"""A field that lives in the active cells of a grid."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.fields.base import Field, Params, Values
from fieldforge.fields.density import LaplaceDensity
from fieldforge.fields.shape_heads import SHAPE_HEADS
from fieldforge.nn.true_places import true_places
from fieldforge.ranges import Cells, Count, Sides

NEAR = 0.6  # share of the points of a training that lie in active cells
LOGIT_OF_COLOR = 2.0  # a colour in [-1, 1] as the argument of a sigmoid: its slope at grey


class CellField(Field):
    """Features at the lattice points of active cells, read trilinearly by small perceptrons; elsewhere inside or
    outside, where the density is 0.

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
        live, features = self._at(points, params)
        sdf = self._distance(live, features, points, params)
        color = (LOGIT_OF_COLOR * features[:, 1:4] + self.to_color(features).float()).sigmoid()  # (M, 3)
        shade = self._between(points, params["colors"]).flatten(0, 1)
        rgb = ((shade + 1) / 2).index_copy(0, live, color).view(*sdf.shape, 3)
        empty = (sdf > 0).flatten().index_fill(0, live, False).view_as(sdf)
        return {"sdf": sdf, "density": self.density(sdf).masked_fill(empty, 0), "rgb": rgb}

    def query_head(self, name: str, points: Tensor, params: Params) -> Tensor:
        """The distance is read without colours and densities."""
        if name != "sdf":
            return super().query_head(name, points, params)
        return self._distance(*self._at(points, params), points, params)

    def _at(self, points: Tensor, params: Params) -> tuple[Tensor, Tensor]:
        """Numbers (M,) among B · N of the points in active cells, and the features there (M, F)."""
        self.check(params)
        points = points.float()
        cell, row = self._find(points, params["table"][..., 0].long())  # (B, N, 3), (B, N)
        live = true_places(row >= 0, NEAR)  # (M,)
        features = self._features(points, cell, row, live, params["cells"].float())  # (M, F)
        return live, self.started(features, points, live, params)

    def _distance(self, live: Tensor, features: Tensor, points: Tensor, params: Params) -> Tensor:
        """Signed distance (B, N)."""
        near = (features[:, 0] + self.to_distance(features).float()[:, 0]) / self.cells  # (M,)
        winding = self._between(points, params["winding"])[..., 0]  # (B, N)
        far = (2 - 4 * winding).clamp(-1, 1) * (2 / self.cells)
        return far.flatten().index_copy(0, live, near).view(winding.shape)

    def started(self, features: Tensor, points: Tensor, live: Tensor, params: Params) -> Tensor:
        """The features (M, F) at the points `live` (M,) of B · N, with what is not read from the lattice."""
        return features

    def _between(self, points: Tensor, values: Tensor) -> Tensor:
        """Values of cells (B, c³, W), read trilinearly between their centres: (B, N, W)."""
        volume = values.float().transpose(1, 2).unflatten(2, (self.cells,) * 3)  # (B, W, c, c, c)
        where = points.float().flip(-1)[:, None, None]  # grid_sample wants the last axis first
        return F.grid_sample(volume, where, padding_mode="border", align_corners=False)[:, :, 0, 0].transpose(1, 2)

    @torch.no_grad()
    def _find(self, points: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Cell (B, N, 3) of each point and its row (B, N); a point between cells belongs to an active one if there
        is."""
        scaled = ((points + 1) * (self.cells / 2)).clamp(0, self.cells)
        high = scaled.floor().clamp(max=self.cells - 1).long()
        low = (scaled.ceil().long() - 1).clamp(min=0)  # differs on the walls between cells
        row = table.gather(1, self._numbers(high))
        lost = true_places((row < 0) & (low < high).any(-1), 0.002)  # (L,)
        if not len(lost):
            return high, row
        low, upper = (place.flatten(0, 1).index_select(0, lost) for place in (low, high))  # (L, 3) each
        first = lost // points.shape[1] * table.shape[1]  # (L,) number of the sample's first cell
        cell, found = upper, torch.full_like(lost, -1)
        for corner in range(1, 8):
            lower = torch.tensor([corner >> axis & 1 for axis in range(3)], dtype=torch.bool, device=points.device)
            other = torch.where(lower, low, upper)
            other_row = table.flatten().index_select(0, first + self._numbers(other))
            better = (found < 0) & (other_row >= 0)
            cell, found = torch.where(better[:, None], other, cell), torch.where(better, other_row, found)
        cells = high.flatten(0, 1).index_copy(0, lost, cell).view_as(high)
        return cells, row.flatten().index_copy(0, lost, found).view_as(row)

    def _numbers(self, cell: Tensor) -> Tensor:
        """Cell (..., 3) → its number among the c³."""
        x, y, z = cell.unbind(-1)
        return (x * self.cells + y) * self.cells + z

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
