"""Convolutions over the neighbours of points: Shap-E's point set embedding.

Letters: N points, S centres, K neighbours of a centre, W windows of a convolution, C channels, D channels after one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.noise.randomness import Randomness, uniform
from fieldforge.ranges import Count, Positive

CHUNK = 256  # centres whose neighbours exist at the same time
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
        rings = [
            Ring.of(convolution, self.stride, places)
            for convolution, places in zip((self.first, self.second), self.places, strict=True)
        ]
        tokens = []
        for sample, (places, position, feature) in enumerate(zip(near, points, features, strict=True)):
            own = [order[sample if len(order) > 1 else 0] for order in orders]  # (places, channels) each
            for part, centres in zip(places.split(CHUNK), position[: self.centres].split(CHUNK), strict=True):
                relative = (position[part] - centres[:, None]).to(feature)
                values = torch.cat([relative, feature[part]], -1)  # (s, K, 3 + C)
                for ring, order in zip(rings, own, strict=True):
                    values = F.silu(ring(values.gather(1, order.expand_as(values))))
                tokens.append(values.mean(1))  # (s, width)
        return torch.cat(tokens).unflatten(0, (len(points), -1))


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


@dataclass(frozen=True)
class Ring:
    """A convolution along a ring of L values: (s, L, C) → (s, L // stride + 1, D).

    Its kernel has twice the stride, and each side is padded with `stride` values of the other (circular padding).
    Windows overlap by halves. Where the ring is of whole blocks of `stride`, a window is the sum of products of two of
    them, no value is copied, and the last window is the first again.

    matrix: (2 D, stride · C), the kernel's first half above its second, for whole blocks, or (D, 2 · stride · C).
    """

    matrix: Tensor
    bias: Tensor
    stride: int
    is_whole: bool

    @classmethod
    def of(cls, convolution: nn.Conv1d, stride: int, length: int) -> Ring:
        """For rings of that length."""
        assert convolution.bias is not None
        taps, is_whole = convolution.weight.transpose(1, 2), length % stride == 0  # (D, 2 · stride, C)
        matrix = torch.cat(taps.split(stride, 1)).flatten(1) if is_whole else taps.flatten(1)
        return cls(matrix, convolution.bias, stride, is_whole)

    def __call__(self, values: Tensor) -> Tensor:
        stride = self.stride
        if self.is_whole:
            blocks = values.unflatten(1, (-1, stride)).flatten(2)  # (s, W - 1, stride · C)
            before, behind = F.linear(blocks, self.matrix).chunk(2, -1)
            windows = before.roll(1, 1) + behind + self.bias
            return torch.cat([windows, windows[:, :1]], 1)
        padded = torch.cat([values[:, -stride:], values, values[:, :stride]], 1)
        windows = padded.unfold(1, 2 * stride, stride).transpose(2, 3)  # (s, W, 2 · stride, C)
        rows = windows.reshape(-1, self.matrix.shape[1])  # (in one product, not one for each centre)
        return F.linear(rows, self.matrix, self.bias).unflatten(0, windows.shape[:2])
