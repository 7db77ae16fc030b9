"""Parts of a shape's surface as a condition: what is left of its points on one side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fieldforge.conditioning.shape_numbers import exposed_surface
from fieldforge.errors import UserError
from fieldforge.ranges import Count, Share


class PartialPoints:
    """`points (N, 3)`: stored surface points without those farthest from a random direction, in box units.

    The crop of PoinTr (Yu et al. 2021, arXiv 2108.08839, section 4.1): from a random viewpoint, the farthest are lost.

    Args:
        count: N; some points stand there twice where fewer are left.
        least, most: the share of the points that is left is uniform between them.
    """

    def __init__(self, count: Count = 1024, least: Share = 0.25, most: Share = 0.75) -> None:
        if not 0 < least <= most:
            raise UserError(f"least={least:g}, most={most:g}: the share of points that is left is above 0, least first")
        self.count, self.least, self.most = count, least, most

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        points, _ = exposed_surface(sample, None)
        left = cropped(points, float(generator.uniform(self.least, self.most)), generator)
        chosen = generator.choice(len(left), self.count, replace=len(left) < self.count)
        return {"points": left[chosen]}


def cropped(points: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """This share of the points (N, 3): those farthest along a random direction."""
    direction = generator.normal(size=3)
    order = np.argsort(points @ -direction)
    return points[order[: max(1, round(share * len(points)))]]
