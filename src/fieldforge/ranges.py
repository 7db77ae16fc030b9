"""Ranges of numbers, for annotations of what a configuration builds: `width: Count`.

`configuration.build` reads them before anything is built, and names the key of a value that lies outside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Numbers with least ≤ x ≤ most; `open_below`, `open_above` leave out the ends, `infinite` lets infinity in."""

    least: float = -math.inf
    most: float = math.inf
    open_below: bool = False
    open_above: bool = False
    infinite: bool = False

    def holds(self, value: float) -> bool:
        """Whether the number lies within; NaN never does."""
        if not isinstance(value, int) and not math.isfinite(value) and not (self.infinite and math.isinf(value)):
            return False
        if value < self.least or value > self.most:
            return False
        return not (self.open_below and value == self.least) and not (self.open_above and value == self.most)

    def __str__(self) -> str:
        bounded = self.most not in (2**31 - 1, math.inf)  # the former only keeps libraries from overflowing
        if self.least > -math.inf and bounded and not self.open_below and not self.open_above:
            return f"from {_text(self.least)} to {_text(self.most)}"
        below = f"{'above' if self.open_below else 'of at least'} {_text(self.least)}" if self.least > -math.inf else ""
        above = f"{'below' if self.open_above else 'of at most'} {_text(self.most)}" if bounded else ""
        return " and ".join(part for part in (below, above) if part)


def _text(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:.17g}"


Whole = Annotated[int, Range(0, 2**31 - 1)]
Count = Annotated[int, Range(1, 2**31 - 1)]
Steps = Annotated[int, Range(1, 100_000)]
"""Of a sampler; more are a slip of the keyboard."""
Points = Annotated[int, Range(1, 1_000_000)]
"""Of one sample; a hundred times as many take 20 GB."""
Seed = Annotated[int, Range(0, 2**62)]
"""Random generators take 64 bits; seeds of further samples lie above the given one."""
NotNegative = Annotated[float, Range(least=0)]
Positive = Annotated[float, Range(least=0, open_below=True)]
Share = Annotated[float, Range(0, 1)]
ShareBelow1 = Annotated[float, Range(0, 1, open_above=True)]
GridCells = Annotated[int, Range(2, 1024)]
"""Cells along an axis of the grid that a mesh is taken from; 1024 of them take 4 GB, and more beside."""
Cells = Annotated[int, Range(1, 128)]
"""Along an axis of the box, where a model keeps a table of them all: 128 take 200 MB, and 2 GB while it is computed."""
Frames = Annotated[int, Range(2, 1000)]
"""Of a clip: one is a picture, and a member's name has three digits."""
Sides = Annotated[int, Range(1, 16)]
"""Parts of such a cell, along an axis."""
Infinite = Annotated[float, Range(least=0, infinite=True)]
"""A limit that may be infinite: none."""
Pixels = Annotated[int, Range(1, 8192)]
"""Along the side of a picture."""
