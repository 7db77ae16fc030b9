"""Some of a shape's stored views, given to a reconstructor; those that are left judge what it makes of them.

V given views at most, of H × W pixels; a sample may have fewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fieldforge.conditioning.sample_pictures import view_of
from fieldforge.errors import UserError
from fieldforge.ranges import Count, Share

NO_VIEW = -1


class GivenViews:
    """A random number of random views, from `least` to `count`; transforms of targets after it read the others.

    `given_rgba (V, H, W, 4)` 0…1, alpha not multiplied in; `given_cameras (V, 4, 4)`, camera to world; `given_fov (V,)`
    in radians; `given_mask (V,)`, 1 for a view and 0 for a place without one; `given_numbers (V,)`, of the stored
    views.

    Args:
        count: V.
        least: of a sample.
        left: how many stored views stay targets, whatever `count` is.
        lit: share of the samples whose given views are relit at random, as photographs have their light (`relight`).
    """

    def __init__(self, count: Count, least: Count = 1, left: Count = 1, lit: Share = 0.0) -> None:
        if least > count:
            raise UserError(
                f"data.transforms: GivenViews gives {least} to {count} views: least= must not be more than count="
            )
        self.count, self.least, self.left, self.lit = count, least, left, lit

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        stored = len(sample["cameras.npy"])
        most = min(self.count, stored - self.left)
        if most < self.least:
            raise UserError(
                f"data.transforms: GivenViews gives {self.least} views and leaves {self.left}, and a shape has "
                f"{stored}: prepare the shapes with preparation.views.count={self.least + self.left}"
            )
        number = int(generator.integers(self.least, most + 1))
        chosen = generator.choice(stored, number, replace=False)
        lit = bool(generator.random() < self.lit)
        return given_views(sample, chosen, self.count, generator if lit else None)


def given_views(
    sample: Mapping[str, Any], numbers: Sequence[int] | np.ndarray, count: int, light: np.random.Generator | None = None
) -> dict[str, Any]:
    """The fields of `GivenViews`: stored views with these numbers in `count` places, the last of which may be empty."""
    pictures = np.stack([view_of(sample, int(view), light) for view in numbers])
    empty = count - len(numbers)
    return {
        "given_rgba": _filled(pictures.astype(np.float32) / 255, empty),
        "given_cameras": _filled(sample["cameras.npy"][numbers].astype(np.float32), empty),
        "given_fov": np.full(count, sample["meta.json"]["fov_y"], np.float32),
        "given_mask": np.array([1] * len(numbers) + [0] * empty, np.float32),
        "given_numbers": np.array([*numbers, *[NO_VIEW] * empty], np.int64),
    }


def _filled(values: np.ndarray, empty: int) -> np.ndarray:
    """Values (V, ...), and the first of them `empty` times more: an empty place is like a view, but for the mask."""
    return np.concatenate([values, np.repeat(values[:1], empty, axis=0)])
