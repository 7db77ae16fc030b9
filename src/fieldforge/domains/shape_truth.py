"""Transforms of stored shapes: ground truth for reconstructions, and condition pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fieldforge.conditioning.given_views import given_views
from fieldforge.data.shape_schema import NORMAL_UNIT
from fieldforge.data.shape_transforms import views_left
from fieldforge.rendering.shading import Stand


class TrueViews:
    """`views (V, H, W, 4)` premultiplied sRGB and alpha 0…1, `cameras (V, 4, 4)`, `fov_y` of V = `count` stored views.

    The first view is the nearest to the portrait camera; the others are spread evenly over the rest. Views that are
    given to a reconstructor are left out (`views_left`). `cameras` are camera to world, `fov_y` is in radians.
    """

    def __init__(self, count: int = 1):
        self.count = count

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        left = views_left(sample)
        indices = left[self.choose(sample["cameras.npy"][left])]
        pictures = np.stack([sample[f"view_{view:03d}.png"] for view in indices]).astype(np.float32) / 255
        pictures[..., :3] *= pictures[..., 3:]
        cameras = sample["cameras.npy"][indices].astype(np.float32)
        return {"views": pictures, "cameras": cameras, "fov_y": np.array(sample["meta.json"]["fov_y"], np.float64)}

    def choose(self, cameras: np.ndarray) -> list[int]:
        """Indices of the chosen views among cameras (V, 4, 4), camera to world."""
        azimuth, elevation = Stand().azimuth, Stand().elevation
        toward = [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)]
        directions = cameras[:, :3, 3] / np.linalg.norm(cameras[:, :3, 3], axis=1, keepdims=True).clip(1e-9)  # (V, 3)
        first = int((directions @ np.array(toward)).argmax())
        rest = [view for view in range(len(cameras)) if view != first]
        spread = np.linspace(0, len(rest) - 1, min(self.count - 1, len(rest))).round().astype(int)
        return [first, *(rest[place] for place in spread)]


class SpreadViews:
    """The fields of `GivenViews` for latents and evaluations: the same views of a sample each time, all of them there.

    The first is that of `ConditionView`; each further one looks from farthest from all before it. One stored view at
    least is left.
    """

    def __init__(self, count: int):
        self.count = count

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        eyes = sample["cameras.npy"][:, :3, 3]
        chosen = TrueViews(1).choose(sample["cameras.npy"])
        while len(chosen) < min(self.count, len(eyes) - 1):
            apart = np.linalg.norm(eyes[:, None] - eyes[chosen], axis=-1).min(axis=1)  # (stored views,)
            chosen.append(int(apart.argmax()))
        return given_views(sample, chosen, self.count)


class TrueGeometry:
    """All stored geometry, box units.

    `true_points, true_normals (N, 3)`, `true_colors (N, 3)` sRGB 0…1 and `exposed (N,)` bool on the surface,
    `near_sdf (M,)` on both its sides, `box_points (K, 3), box_sdf (K,)` in the box.
    """

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        return {
            "true_points": sample["surface_points.npy"].astype(np.float32),
            "true_normals": sample["surface_normals.npy"].astype(np.float32) * NORMAL_UNIT,
            "true_colors": sample["surface_colors.npy"].astype(np.float32) / 255,
            "near_sdf": sample["near_sdf.npy"].astype(np.float32),
            "exposed": sample["surface_exposed.npy"].astype(bool),
            "box_points": sample["volume_points.npy"].astype(np.float32),
            "box_sdf": sample["volume_sdf.npy"].astype(np.float32),
        }


class ConditionView:
    """`image`: the stored view nearest to the portrait camera, uint8 RGBA (H, W, 4)."""

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        (view,) = TrueViews(1).choose(sample["cameras.npy"])
        return {"image": np.array(sample[f"view_{view:03d}.png"])}
