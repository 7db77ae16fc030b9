"""Surface points → latents of the cells that the surface runs through.

Letters: P pairs of a point and a cell that holds it, A active cells of all samples, c cells along an axis of the box, s
    along an axis of a cell.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fieldforge.autoencoder.encoders import SURFACE_WIDTH, Encoder, appearance
from fieldforge.autoencoder.pooling import scatter_mean
from fieldforge.autoencoder.quadrics import fit_quadrics
from fieldforge.fields.quadric_field import COEFFICIENTS
from fieldforge.nn.cells import ActiveCells, CellNetwork
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.nn.true_places import true_places
from fieldforge.ranges import Cells, Count, NotNegative, Sides, Whole

START = COEFFICIENTS + 3  # channels of a cell's quadric and mean colour
SQUASH = 2.0
ACTIVITY = 3.0  # deviation of the first channel: which cells there are is decided before what is in them
OFFSET, SLOPE, CURVATURE, COLOR, REST = 1.5, 1.0, 0.5, 1.25, 0.5  # of the others, about the root of what they move


def squashed(coefficients: Tensor) -> Tensor:
    """Coefficients of quadrics as latents before tanh: thin parts have large ones, so by asinh, over `SQUASH`."""
    return torch.asinh(coefficients) / SQUASH


def stretched(latents: Tensor) -> Tensor:
    """The inverse of `squashed` after tanh: latents in [-1, 1] → coefficients."""
    return torch.sinh(SQUASH * latents.clamp(-0.995, 0.995).atanh())


class SparseEncoder(Encoder):
    """Cells that hold points are active: one token each, of its points, then of the cells around it.

    Latents (B, c³, 1 + channels): 1 or -1 for active or not, then the quadric (10) and mean colour (3) of the cell's
    points with a learned correction, then channels that are learned alone; zeros where not active. Local latents are
    shared by all places of all shapes, so a thousand shapes are some hundred thousand examples (structured latents:
    Xiang et al. 2024, "TRELLIS", section 3.1).

    Args:
        cells: c, along each axis of the box.
        sides: s, parts of a cell along each axis, in which its points are averaged.
        margin: share of a cell's side by which it reaches into its neighbours for points; so a cell is active, too,
            where the surface passes right beside it.
        narrow: channels in which a cell sees those around it.
    """

    def __init__(
        self,
        cells: Cells = 16,
        sides: Sides = 4,
        point_width: Count = 16,
        width: Count = 160,
        layers: Whole = 3,
        narrow: Count = 40,
        channels: Count = 16,
        margin: NotNegative = 0.05,
    ):
        super().__init__()
        if channels < START:
            raise ValueError(f"SparseEncoder: channels={channels} must hold the quadric and colour of a cell, {START}")
        if margin >= 0.5:
            raise ValueError(f"SparseEncoder: margin={margin} must be below half a cell, 0.5")
        self.cells, self.sides, self.margin, self.channels = cells, sides, margin, channels
        self.latent_shape = LatentShape(cells**3, 1 + channels, (cells,) * 3)
        quadric = (OFFSET, *(SLOPE,) * 3, *(CURVATURE,) * 6)
        self.deviations = (ACTIVITY, *quadric, *(COLOR,) * 3, *(REST,) * (channels - START))
        self.embed = nn.Sequential(nn.Linear(SURFACE_WIDTH + 3, 32), nn.GELU(), nn.Linear(32, point_width))
        self.to_token = nn.Linear(sides**3 * (point_width + 1) + START, width)
        self.network = CellNetwork(cells, width, layers, narrow)
        self.norm, self.to_latent = nn.LayerNorm(width), nn.Linear(width, channels)
        with torch.no_grad():  # quadric and colour start as they are
            self.to_latent.bias.zero_()
            self.to_latent.weight[:START].zero_()
            self.to_latent.weight[START:].normal_(std=0.05)

    def forward(self, surface: Tensor) -> Tensor:
        """surface (B, N, 9) → (B, c³, 1 + channels), before the bottleneck."""
        point, flat = self.cells_of(surface[..., :3])  # (P,) each
        inside = torch.zeros(len(surface), self.cells**3, dtype=torch.bool, device=surface.device)
        inside = inside.flatten().index_fill(0, flat, True).view_as(inside)
        active = ActiveCells.of(inside, self.cells)
        number = inside.flatten().cumsum(0) - 1  # of each cell among the active ones
        cell = number[flat]  # (P,)
        points = surface.flatten(0, 1).index_select(0, point).float()  # (P, 9)
        place = active.place.index_select(0, cell)  # (P, 3)
        x = (points[:, :3] + 1) * self.cells - 2 * place - 1  # in half cells from the cell's centre
        with torch.autocast(surface.device.type, enabled=False):
            start = self.start(x, points, cell, len(active))  # (A, 13)
        tokens = self.tokens(self.parts(x, points, cell, len(active)), start)  # (A, width)
        latents = self.to_latent(self.norm(self.network(tokens, active))).float()  # (A, channels)
        latents = latents + nn.functional.pad(start, (0, self.channels - START))
        rows = torch.cat([torch.ones_like(latents[:, :1]), latents], -1)  # (A, 1 + channels)
        empty = rows.new_zeros(inside.numel(), rows.shape[1])
        empty[:, 0] = -1
        return empty.index_copy(0, active.flat, rows).view(len(surface), self.cells**3, -1)

    def cells_of(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """points (B, N, 3) → pairs (P,), (P,): number of the point among B · N, number of a cell among B · c³."""
        c = self.cells
        scaled = ((points.float() + 1) * (c / 2)).clamp(0, c - 1e-3).flatten(0, 1)  # (B · N, 3), in cells
        low = (scaled - self.margin).clamp(min=0).floor().long()
        high = (scaled + self.margin).clamp(max=c - 1e-3).floor().long()
        strides = low.new_tensor([c * c, c, 1])
        numbers = torch.arange(len(low), device=low.device)
        flat = numbers // points.shape[1] * c**3 + (low * strides).sum(-1)  # (B · N,)
        step = (high - low) * strides  # to the next cell along each axis that holds the point, too; 0: none does
        crossing = 2 * self.margin  # share of the points that an axis has two cells for
        beside = 1 - (1 - crossing) ** 3
        several = true_places(step.any(-1), beside)  # (Q,)
        near, step = flat.index_select(0, several), step.index_select(0, several)
        pairs = [torch.stack([numbers, flat])]
        for corner in range(1, 8):
            along = step[:, [axis for axis in range(3) if corner >> axis & 1]]  # (Q, 1 … 3)
            held = true_places(along.all(-1), crossing ** along.shape[1] / (beside or 1))
            pairs.append(torch.stack([several, near + along.sum(-1)]).index_select(1, held))
        point, flat = torch.cat(pairs, 1)
        return point, flat

    def start(self, x: Tensor, points: Tensor, cell: Tensor, count: int) -> Tensor:
        """Quadric and mean colour of each cell's points (A, 13), as latents before tanh."""
        coefficients = fit_quadrics(x, points[:, 3:6], cell, count)  # (A, 10)
        color = scatter_mean(appearance(points)[None, :, 3:], cell[None], count)[0]  # (A, 3)
        return torch.cat([squashed(coefficients), color], -1)

    def parts(self, x: Tensor, points: Tensor, cell: Tensor, count: int) -> Tensor:
        """Means of embedded points in each of a cell's s³ parts, and whether there is one (A, s³ · (point width +
        1))."""
        s = self.sides
        part = ((x.clamp(-0.999, 0.999) + 1) * (s / 2)).floor()  # (P, 3)
        within = (x + 1) * s - 2 * part - 1
        features = self.embed(torch.cat([within, appearance(points), x], -1)).float()  # (P, point width)
        features = torch.cat([features, torch.ones_like(features[:, :1])], -1)  # the mean of ones: is there a point?
        i, j, k = part.long().unbind(-1)
        bins = ((cell * s + i) * s + j) * s + k  # (P,)
        return scatter_mean(features[None], bins[None], count * s**3).view(count, -1)

    def tokens(self, parts: Tensor, start: Tensor) -> Tensor:
        """`to_token` of both (A, width), without a copy of the parts (A, ·) beside the start (A, 13)."""
        weight = self.to_token.weight
        of_parts = nn.functional.linear(parts, weight[:, : parts.shape[1]], self.to_token.bias)
        return of_parts + nn.functional.linear(start, weight[:, parts.shape[1] :])
