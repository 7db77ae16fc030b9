"""Networks on the active cells of a grid: each cell is a token, with a receptive field of 3³ cells in each block."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from fieldforge.nn.blocks import Block, Stack
from fieldforge.nn.transformer import FeedForward, TokenNorm
from fieldforge.nn.true_places import true_places


def surface_share(cells: int) -> float:
    """The share of a grid's cells that the surface of a thing runs through, of furniture: a tenth of 16³."""
    return min(1.0, 1.7 / cells)


@dataclass(frozen=True)
class ActiveCells:
    """The A active cells of B samples with cells³ cells each, in the order of sample, x, y, z.

    flat: (A,) index of each cell among all B · cells³, ascending.
    """

    flat: Tensor
    batch: int
    cells: int

    @classmethod
    def of(cls, active: Tensor, cells: int) -> ActiveCells:
        """The cells where `active` (B, cells³) is true."""
        return cls(true_places(active, surface_share(cells)), len(active), cells)

    def __len__(self) -> int:
        return len(self.flat)

    @cached_property
    def sample(self) -> Tensor:
        """Index of each cell's sample (A,)."""
        return self.flat // self.cells**3

    @cached_property
    def place(self) -> Tensor:
        """Coordinates x, y, z of each cell (A, 3)."""
        c = self.cells
        return torch.stack([self.flat // c**2 % c, self.flat // c % c, self.flat % c], -1)

    @cached_property
    def slot(self) -> Tensor:
        """Index of each cell among the active cells of its sample (A,), from 0."""
        counts = self.flat.new_zeros(self.batch).index_add(0, self.sample, torch.ones_like(self.flat))
        before = counts.cumsum(0) - counts  # (B,)
        return torch.arange(len(self), device=self.flat.device) - before[self.sample]

    @cached_property
    def around(self) -> Tensor:
        """Indices (A, 27) in 0 … A - 1 of each cell's 3³ neighbourhood, itself included; A where inactive."""
        c, count = self.cells, len(self)
        numbers = torch.arange(count, device=self.flat.device)
        inner = torch.full((self.batch * c**3,), count, device=self.flat.device).index_put((self.flat,), numbers)
        table = nn.functional.pad(inner.view(self.batch, c, c, c), (1,) * 6, value=count).flatten()
        (x, y, z), side = self.place.unbind(-1), c + 2
        corner = ((self.sample * side + x) * side + y) * side + z  # (A,) the first of the neighbourhood
        steps = torch.arange(3, device=self.flat.device)
        steps = (steps[:, None, None] * side**2 + steps[:, None] * side + steps).flatten()  # (27,)
        return table.index_select(0, (corner[:, None] + steps).flatten()).view(count, 27)


class CellBlock(Block):
    """Pre-norm block: a sparse 3³ convolution and a feed-forward network, each with a skip connection.

    The convolution reads neighbours in `narrow` channels, so that it stays small beside the feed-forward network.
    """

    def __init__(self, width: int, narrow: int, expansion: float):
        super().__init__()
        self.norm_around, self.norm_feed = TokenNorm(width), TokenNorm(width)
        self.to_narrow = nn.Linear(width, narrow)
        self.mix = nn.Linear(27 * narrow, width)
        self.feed = FeedForward(width, expansion)

    def forward(self, x: Tensor, around: Tensor) -> Tensor:
        """x (A, width), around (A, 27) → (A, width)."""
        narrow = self.to_narrow(self.norm_around(x))  # (A, narrow)
        narrow = torch.cat([narrow, narrow.new_zeros(1, narrow.shape[1])])  # the last: of a cell that is not active
        x = x + self.mix(narrow.index_select(0, around.flatten()).view(len(x), self.mix.in_features))
        return x + self.feed(self.norm_feed(x))


class CellNetwork(Stack):
    """Learned positional embeddings for each axis, then `layers` equal blocks. No final norm."""

    def __init__(self, cells: int, width: int, layers: int, narrow: int, expansion: float = 4.0):
        super().__init__()
        self.places = nn.Parameter(torch.randn(3, cells, width) * 0.02)
        self.blocks = nn.ModuleList(CellBlock(width, narrow, expansion) for _ in range(layers))

    def forward(self, x: Tensor, cells: ActiveCells) -> Tensor:
        """x (A, width) → (A, width)."""
        place = cells.place
        x = x + sum(nn.functional.embedding(place[:, axis], self.places[axis]) for axis in range(3))
        for block in self.blocks:
            x = self.call(block, x, cells.around)
        return x
