"""How many numbers a latent has, and where its tokens are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class _Sizes(NamedTuple):
    tokens: int
    channels: int
    grid: tuple[int, ...] | None = None


class LatentShape(_Sizes):
    """The latent (T, C) of one sample.

    Attributes:
        tokens: T.
        channels: C.
        grid: places along each axis, where the tokens fill a grid in row-major order; None where they are a set or have
            an order of their own.
    """

    __slots__ = ()

    def __new__(cls, tokens: int, channels: int, grid: Sequence[int] | None = None) -> LatentShape:
        """ValueError where the grid has not as many places as there are tokens."""
        if grid is not None and (not grid or math.prod(grid) != tokens):
            raise ValueError(f"a grid of {' × '.join(map(str, grid)) or 'no'} places does not hold {tokens} tokens")
        return super().__new__(cls, tokens, channels, None if grid is None else tuple(grid))
