"""Patches: neighbouring latent tokens that a transformer reads as one token."""

import math
from collections.abc import Sequence

from torch import Tensor

from fieldforge.errors import UserError


def common_group(tokens: int, group: int, key: str) -> int:
    """The greatest number that divides both `tokens` and `group`, so that one setting serves latents of many lengths.

    `key`: of `group` in the configuration. UserError where only 1 divides both, or `group` is below 1.
    """
    if group < 1:
        raise UserError(f"{key}={group}: give a whole number of at least 1")
    divisor = math.gcd(tokens, group)
    if divisor == 1 < min(tokens, group):
        raise UserError(f"{key}={group} and the latent's {tokens} tokens have no divisor: choose another group")
    return divisor


class Patches:
    """T tokens as patches of equal size: boxes of their grid (Dosovitskiy et al. 2021), or runs where there is none.

    `size` is the `common_group`; a box's sides are as equal as the grid allows. `grid` is the grid of patches, in
    row-major order; None where the tokens have no grid.
    """

    def __init__(self, tokens: int, group: int, key: str, grid: Sequence[int] | None = None):
        self.size = common_group(tokens, group, key)
        places = (tokens,) if grid is None else tuple(grid)
        self.sides = box_sides(places, self.size)
        self.counts = tuple(count // side for count, side in zip(places, self.sides, strict=True))
        self.grid = None if grid is None else self.counts
        self.tokens = tokens // self.size

    def join(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T / size, size · C)."""
        axes = len(self.sides)
        pairs = [number for pair in zip(self.counts, self.sides, strict=True) for number in pair]
        boxes = x.unflatten(1, pairs).permute(0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1)
        return boxes.reshape(len(x), self.tokens, -1)  # (B, n₁ … n_d, s₁ … s_d, C) before

    def split(self, patches: Tensor) -> Tensor:
        """(B, T / size, size · C) → (B, T, C): the inverse of `join`."""
        axes = len(self.sides)
        boxes = patches.reshape(len(patches), *self.counts, *self.sides, -1)  # (B, n₁ … n_d, s₁ … s_d, C)
        pairs = [place for axis in range(axes) for place in (1 + axis, 1 + axes + axis)]
        return boxes.permute(0, *pairs, 2 * axes + 1).reshape(len(patches), self.tokens * self.size, -1)


def box_sides(grid: Sequence[int], size: int) -> tuple[int, ...]:
    """Sides of a box of `size` places that tiles the grid, as equal as divisors allow, the later ones longer."""
    sides = [1] * len(grid)
    for prime in sorted(prime_factors(size), reverse=True):
        fits = [axis for axis, places in enumerate(grid) if places % (sides[axis] * prime) == 0]
        axis = min(reversed(fits), key=lambda axis: sides[axis])
        sides[axis] *= prime
    return tuple(sides)


def prime_factors(number: int) -> list[int]:
    """Rising, each as often as it divides: 12 → [2, 2, 3]."""
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors
