"""Whole assets out of shards, as latent caching, pictures and evaluations want them; and what shows reconstructions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from fieldforge.data.shape_schema import NORMAL_UNIT
from fieldforge.data.transforms import Known
from fieldforge.generation import Shapes
from fieldforge.rendering.pictures import image_of
from fieldforge.rendering.shading import Stand, portrait
from fieldforge.rendering.sheet import picture_sheet


class Key:
    """`key`: the sample's name in its shard."""

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        assert isinstance(sample, Known)
        return {"key": sample.stored.key}  # type: ignore[attr-defined]


class TrueViews:
    """`views (V, H, W, 4)` premultiplied sRGB and alpha 0…1, `cameras (V, 4, 4)`, `fov_y` of `count` stored views.

    The first is the one seen from nearest to where portraits of meshes are taken, the others are spread over the rest.
    """

    def __init__(self, count: int = 1):
        self.count = count

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        chosen = self.choose(sample["cameras.npy"])
        pictures = np.stack([sample[f"view_{view:03d}.png"] for view in chosen]).astype(np.float32) / 255
        pictures[..., :3] *= pictures[..., 3:]
        cameras = sample["cameras.npy"][chosen].astype(np.float32)
        return {"views": pictures, "cameras": cameras, "fov_y": float(sample["meta.json"]["fov_y"])}

    def choose(self, cameras: np.ndarray) -> list[int]:
        """Numbers of the chosen views among cameras (V, 4, 4)."""
        azimuth, elevation = Stand().azimuth, Stand().elevation
        toward = [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)]
        directions = cameras[:, :3, 3] / np.linalg.norm(cameras[:, :3, 3], axis=1, keepdims=True).clip(1e-9)  # (V, 3)
        first = int((directions @ np.array(toward)).argmax())
        rest = [view for view in range(len(cameras)) if view != first]
        spread = np.linspace(0, len(rest) - 1, min(self.count - 1, len(rest))).round().astype(int)
        return [first, *(rest[place] for place in spread)]


class TrueGeometry:
    """All stored truth: `true_points, true_normals (N, 3)`, `exposed (N,)` bool, `box_points (K, 3), box_sdf (K,)`."""

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        return {
            "true_points": sample["surface_points.npy"].astype(np.float32),
            "true_normals": sample["surface_normals.npy"].astype(np.float32) * NORMAL_UNIT,
            "exposed": sample["surface_exposed.npy"].astype(bool),
            "box_points": sample["volume_points.npy"].astype(np.float32),
            "box_sdf": sample["volume_sdf.npy"].astype(np.float32),
        }


def reconstruction_rows(
    shapes: Shapes, batch: Mapping[str, Any], size: int, resolution: int
) -> list[list[Image.Image | None]]:
    """Truth, volume view from the same camera, and mesh: a row for each shape.

    Args:
        shapes: reconstructions of the batch.
        batch: `views`, `cameras`, `fov_y` of `TrueViews`; the first view is shown.
        size: pixels of a picture.
        resolution: cells along an axis of the mesh's grid.
    """
    seen = shapes.views(batch["cameras"][:, 0], float(batch["fov_y"][0]), size)  # (B, H, W, 4)
    return [
        [
            image_of(torch.as_tensor(batch["views"][index, 0])),
            image_of(seen[index]),
            portrait(shapes.mesh(index, resolution), size),
        ]
        for index in range(len(shapes))
    ]


def reconstruction_sheet(rows: list[list[Image.Image | None]], labels: list[str], size: int) -> Image.Image:
    """The rows of `reconstruction_rows` as one picture."""
    return picture_sheet(rows, labels, ["truth", "volume", "mesh"], cell=size)
