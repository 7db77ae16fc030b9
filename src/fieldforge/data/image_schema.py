"""Sample shards of pictures: H × W pixels in sRGB, with or without straight alpha."""

import numpy as np

from fieldforge.data.schema import FieldSpec, Schema


def color_channels(pixels: np.ndarray) -> str | None:
    """The fault of pixels (H, W, C) that are neither RGB nor RGBA."""
    return None if pixels.shape[2] in (3, 4) else f"has {pixels.shape[2]} channels, but must have 3 or 4"


IMAGE = Schema(
    name="image",
    version=1,
    fields=(FieldSpec("meta.json"), FieldSpec("image.png", "uint8", ("H", "W", "C"), fault=color_channels)),
)
