"""The shape of a latent: tokens, channels, and the grid of its tokens."""

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
        grid: tokens along each axis, where the tokens fill a grid in row-major order; None for a set or
            for another order of tokens.
    """

    __slots__ = ()

    def __new__(cls, tokens: int, channels: int, grid: Sequence[int] | None = None) -> LatentShape:
        """ValueError where the grid has not as many places as there are tokens."""
        if grid is not None and (not grid or math.prod(grid) != tokens):
            raise ValueError(f"a grid of {' × '.join(map(str, grid)) or 'no'} places does not hold {tokens} tokens")
        return super().__new__(cls, tokens, channels, None if grid is None else tuple(grid))
