"""Convolutions over the neighbours of points: Shap-E's point set embedding.

Letters: N points, S centres, K neighbours of a centre, W windows of a convolution, C channels, D channels after one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.noise.randomness import Randomness, uniform
from fieldforge.ranges import Count, Positive

CHUNK = 64  # centres whose neighbours exist at the same time
Orders = tuple[Tensor, ...]
"""For each convolution which neighbour every channel has at each place: (1 or B, places, channels), permutations."""


class PointConv(nn.Module):
    """The first S points are centres; two convolutions run over the neighbours of each, and the mean is its token.

    Neighbours have no order (Shap-E's release draws one for each channel, at each convolution, also in evaluation):
    training draws the orders, evaluation has fixed ones. PointNet++ (Qi et al. 2017) defines the neighbours.

    Args:
        channels: of the points' features; relative positions come before them.
        width: of both convolutions.
        centres: S.
        radius: within which a point is a neighbour, box units.
        neighbours: K, the first in the order of the points; a centre with fewer repeats its first one.
        stride: of the convolutions; their kernels have twice the width, and rows of neighbours are closed to rings.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        centres: Count = 1024,
        radius: Positive = 0.5,
        neighbours: Count = 64,
        stride: Count = 4,
    ):
        super().__init__()
        self.centres, self.radius, self.neighbours, self.stride = centres, radius, neighbours, stride
        self.first = nn.Conv1d(3 + channels, width, 2 * stride, stride)
        self.second = nn.Conv1d(width, width, 2 * stride, stride)
        self.places = (neighbours, neighbours // stride + 1)
        self.first_order: Tensor
        self.second_order: Tensor
        first, second = self.drawn_orders(1, torch.Generator().manual_seed(0))
        self.register_buffer("first_order", first, persistent=False)
        self.register_buffer("second_order", second, persistent=False)

    def drawn_orders(self, batch: int, randomness: Randomness) -> Orders:
        """Random orders for both convolutions of `batch` samples."""
        channels = (self.first.in_channels, self.second.in_channels)
        sizes = [(batch, *size) for size in zip(self.places, channels, strict=True)]
        return tuple(uniform(size, randomness).argsort(1) for size in sizes)

    def forward(self, points: Tensor, features: Tensor, randomness: Randomness | None = None) -> Tensor:
        """points (B, N, 3), features (B, N, C) → (B, S, width); fixed orders without randomness."""
        if randomness is None:
            orders: Orders = (self.first_order, self.second_order)
        else:
            orders = tuple(order.to(points.device) for order in self.drawn_orders(len(points), randomness))
        return self.convolve(points, features, orders)

    def convolve(self, points: Tensor, features: Tensor, orders: Orders) -> Tensor:
        """As `forward`, with given orders."""
        near = first_neighbours(points[:, : self.centres].float(), points.float(), self.radius, self.neighbours)
        tokens = []
        for sample, (places, position, feature) in enumerate(zip(near, points, features, strict=True)):
            own = [order[sample if len(order) > 1 else 0] for order in orders]  # (places, channels) each
            parts = zip(places.split(CHUNK), position[: self.centres].split(CHUNK), strict=True)
            tokens.append(torch.cat([self._tokens(own, each, centre, position, feature) for each, centre in parts]))
        return torch.stack(tokens)

    def _tokens(
        self, orders: Sequence[Tensor], near: Tensor, centres: Tensor, points: Tensor, features: Tensor
    ) -> Tensor:
        """Of some centres (s, 3) of one sample with their neighbours (s, K), among points (N, 3): (s, width)."""
        relative = (points[near] - centres[:, None]).to(features)
        values = torch.cat([relative, features[near]], -1)  # (s, K, 3 + C)
        for convolution, order in zip((self.first, self.second), orders, strict=True):
            values = values.gather(1, order.expand_as(values))
            values = F.silu(ring_convolution(values, convolution.weight, convolution.bias, self.stride))
        return values.mean(1)


def first_neighbours(centres: Tensor, points: Tensor, radius: float, count: int) -> Tensor:
    """Indices (B, S, `count`) of the first points (B, N, 3) within the radius of centres (B, S, 3), in their order.

    Where there are fewer the first one stands again. Each centre has to have one.
    """
    squares = (-2 * centres @ points.transpose(1, 2)).add_(centres.square().sum(-1)[..., None])
    squares = squares.add_(points.square().sum(-1)[:, None])  # (B, S, N)
    found = (squares <= radius**2).cumsum(-1, dtype=torch.int32)  # (B, S, N) that many up to here
    ranks = torch.arange(1, count + 1, dtype=torch.int32, device=points.device)
    places = torch.searchsorted(found, ranks.expand(*found.shape[:2], -1).contiguous())  # (B, S, count), N beyond
    return torch.where(places < points.shape[1], places, places[..., :1])


def ring_convolution(values: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolution along a ring: values (s, L, C), weight (D, C, 2 · stride) → (s, L // stride + 1, D).

    Each side is padded with `stride` values of the other (`padding_mode="circular"`). The windows overlap by halves: of
    whole blocks, a window is the sum of two products, and no value is copied. The last window is then the first again.
    """
    length, channels = values.shape[1:]
    if length % stride:
        padded = torch.cat([values[:, -stride:], values, values[:, :stride]], 1)
        windows = padded.unfold(1, 2 * stride, stride).flatten(2)  # (s, W, C · 2 · stride)
        return F.linear(windows, weight.flatten(1), bias)
    left, right = weight.transpose(1, 2).split(stride, 1)  # (D, stride, C) each
    blocks = values.reshape(len(values), -1, stride * channels)  # (s, W - 1, stride · C)
    before, behind = F.linear(blocks, torch.cat([left.flatten(1), right.flatten(1)])).chunk(2, -1)
    windows = before.roll(1, 1) + behind if bias is None else before.roll(1, 1) + behind + bias
    return torch.cat([windows, windows[:, :1]], 1)
