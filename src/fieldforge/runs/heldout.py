"""Held-out assets as pictures and evaluations want them: whole, with their true views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from fieldforge.generation import Shapes
from fieldforge.rendering.pictures import image_of
from fieldforge.rendering.shading import portrait
from fieldforge.rendering.sheet import picture_sheet


class TrueViews:
    """`views (V, H, W, 4)` float32 premultiplied sRGB and alpha 0…1, `cameras (V, 4, 4)`, `fov_y` of chosen views.

    Args:
        views: numbers of the views.
    """

    def __init__(self, views: tuple[int, ...] = (0,)):
        self.views = views

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        pictures = np.stack([sample[f"view_{view:03d}.png"] for view in self.views]).astype(np.float32) / 255
        pictures[..., :3] *= pictures[..., 3:]
        cameras = sample["cameras.npy"][list(self.views)].astype(np.float32)
        return {"views": pictures, "cameras": cameras, "fov_y": float(sample["meta.json"]["fov_y"])}


def reconstruction_sheet(
    shapes: Shapes, batch: Mapping[str, Any], size: int = 128, resolution: int = 64, notes: list[str] | None = None
) -> Image.Image:
    """Truth, volume view from the same camera, and mesh: a row for each shape.

    Args:
        shapes: reconstructions of the batch.
        batch: `views`, `cameras`, `fov_y` of `TrueViews` (the first is shown) and `meta`.
        size: pixels of a picture.
        resolution: cells along an axis of the mesh's grid.
        notes: a line for each shape, below its name.
    """
    seen = shapes.views(batch["cameras"][:, 0], float(batch["fov_y"][0]), size)  # (B, H, W, 4)
    rows = [
        [
            image_of(torch.as_tensor(batch["views"][index, 0])),
            image_of(seen[index]),
            portrait(shapes.mesh(index, resolution), size),
        ]
        for index in range(len(shapes))
    ]
    names = [meta["name"] for meta in batch["meta"]]
    labels = [f"{name}\n{note}" for name, note in zip(names, notes or [""] * len(names), strict=True)]
    return picture_sheet(rows, labels, ["truth", "volume", "mesh"], cell=size)
