"""The pictures of a stored sample: the views of a shape, or the picture itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldforge.conditioning.relight import relit_view
from fieldforge.data.image_schema import IMAGE
from fieldforge.data.schema import Schema
from fieldforge.data.shape_schema import SAMPLE

PICTURE = "image.png"


def has_views(schema: Schema) -> bool:
    """Whether samples of this schema have pictures."""
    return schema in (SAMPLE, IMAGE)


def view_numbers(sample: Mapping[str, Any]) -> range:
    """The view numbers of a stored sample."""
    return range(1 if PICTURE in sample else len(sample["cameras.npy"]))


def can_be_lit(sample: Mapping[str, Any]) -> bool:
    """Whether views can be relit: a picture has no depth, and its light is fixed."""
    return PICTURE not in sample


def view_of(sample: Mapping[str, Any], view: int, light: np.random.Generator | None = None) -> NDArray[np.uint8]:
    """One of a sample's pictures, uint8 RGBA (H, W, 4); under a random light where it can be relit."""
    if PICTURE in sample:
        return np.array(Image.fromarray(np.asarray(sample[PICTURE])).convert("RGBA"))
    return np.array(sample[f"view_{view:03d}.png"]) if light is None else relit_view(sample, view, light)
