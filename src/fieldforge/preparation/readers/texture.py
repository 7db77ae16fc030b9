"""Pictures of files as textures of a mesh."""

import io
import warnings

import numpy as np
from PIL import Image

from fieldforge.preparation.stores import AssetError

MAX_TEXTURE_PIXELS = 2**26
"""A picture of more pixels is not unpacked."""

MAX_TEXTURE_SIDE = 1024
"""Bigger textures are reduced: a texel is then still finer than the samples taken."""


def decode_texture(payload: bytes) -> np.ndarray:
    """uint8 (H, W, 4) of a picture, at most MAX_TEXTURE_SIDE wide and high. AssetError if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(payload)) as picture:
                picture.draft("RGB", (MAX_TEXTURE_SIDE, MAX_TEXTURE_SIDE))
                return texture_array(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise AssetError(f"the texture cannot be read ({error}); save it again.") from error


def texture_array(picture: Image.Image) -> np.ndarray:
    """uint8 (H, W, 4) of a picture, at most MAX_TEXTURE_SIDE wide and high. AssetError if it is too big or damaged."""
    width, height = picture.size
    if width * height > MAX_TEXTURE_PIXELS:
        raise AssetError(f"the texture has {width} x {height} pixels, which is too many; make it smaller.")
    try:
        rgba = picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        raise AssetError(f"the texture cannot be read ({error}); save it again.") from error
    if max(rgba.size) > MAX_TEXTURE_SIDE:
        rgba.thumbnail((MAX_TEXTURE_SIDE, MAX_TEXTURE_SIDE), Image.Resampling.BOX)
    return np.asarray(rgba)
