"""The pictures of a stored sample: the views of a shape, the frames of a clip, or the picture itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldforge.conditioning.relight import relit_view
from fieldforge.data.clip_schema import CLIP
from fieldforge.data.image_schema import IMAGE
from fieldforge.data.image_transforms import with_alpha
from fieldforge.data.schema import Schema
from fieldforge.data.shape_schema import SAMPLE

PICTURE = "image.png"
FRAME = "frame_{:03d}.png"


def has_views(schema: Schema) -> bool:
    """Whether samples of this schema have pictures."""
    return schema in (SAMPLE, IMAGE, CLIP)


def view_numbers(sample: Mapping[str, Any]) -> range:
    """The view numbers of a stored sample."""
    if is_clip(sample):
        return range(len(sample["meta.json"]["azimuth"]))
    return range(1 if PICTURE in sample else len(sample["cameras.npy"]))


def is_clip(sample: Mapping[str, Any]) -> bool:
    return FRAME.format(0) in sample


def can_be_lit(sample: Mapping[str, Any]) -> bool:
    """Whether views can be relit: a picture and a frame have no depth, and their light is fixed."""
    return PICTURE not in sample and not is_clip(sample)


def view_of(sample: Mapping[str, Any], view: int, light: np.random.Generator | None = None) -> NDArray[np.uint8]:
    """One of a sample's pictures, uint8 RGBA (H, W, 4); under a random light where it can be relit."""
    if PICTURE in sample:
        return np.array(Image.fromarray(np.asarray(sample[PICTURE])).convert("RGBA"))
    if is_clip(sample):
        return with_alpha(np.asarray(sample[FRAME.format(view)]))
    return np.array(sample[f"view_{view:03d}.png"]) if light is None else relit_view(sample, view, light)
