"""Transforms of stored pictures: the input of a picture autoencoder."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from fieldforge.errors import UserError
from fieldforge.ranges import Count

Box = tuple[float, float, float, float]


class Pixels:
    """`input (3, H, W)`: a square part of the picture over white, sRGB in -1…1, H = W = `size`.

    As a transform it gives the largest central square in every pass. As `augment` it replaces that in training by
    random crops and mirror images.

    Args:
        size: pixels. Pictures of other sizes are resized with anti-aliasing (Lanczos).
        crop: the smallest side of the square, as a share of the picture's shorter side; 1: the largest in the middle.
        flip: mirrors left and right with probability 1/2.
    """

    def __init__(self, size: Count, crop: float = 1.0, flip: bool = False) -> None:
        if not 0 < crop <= 1:
            raise UserError(f"crop={crop} must be above 0 and at most 1; 1 takes the largest square in the middle.")
        self.size, self.crop, self.flip = size, crop, flip

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        pixels = over_white(sample["image.png"])  # (H, W, 3)
        box = self._box(pixels.shape[0], pixels.shape[1], generator)
        square = resized(pixels, self.size, box)
        if self.flip and generator.random() < 0.5:
            square = square[:, ::-1]
        return {"input": np.ascontiguousarray(square.transpose(2, 0, 1), np.float32) / np.float32(127.5) - 1}

    def _box(self, height: int, width: int, generator: np.random.Generator) -> Box:
        if self.crop == 1:
            return middle_square(height, width)
        side = min(height, width) * generator.uniform(self.crop, 1)
        left, top = generator.uniform(0, width - side), generator.uniform(0, height - side)
        return left, top, left + side, top + side


class Coarse:
    """`coarse` (T, 3): the picture with `factor` times fewer pixels along a side, row by row, sRGB in -1…1.

    Pixels coincide with latent tokens if `factor` is the autoencoder's downsampling factor.

    Args:
        size: pixels along a side of the large picture, see `Pixels`.
        factor: of the sides.
    """

    def __init__(self, size: Count, factor: Count) -> None:
        if size % factor:
            raise UserError(f"factor={factor} must divide size={size}, the pixels along a side of the large picture")
        self.pixels = Pixels(size // factor)

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        return {"coarse": self.pixels(sample, generator)["input"].reshape(3, -1).T.copy()}


def middle_square(height: int, width: int) -> Box:
    """The largest square in the middle."""
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def with_alpha(pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 4) of uint8 (H, W, 3 or 4), opaque where there is no alpha."""
    alpha = np.full((*pixels.shape[:2], 4 - pixels.shape[2]), 255, np.uint8)
    return np.concatenate([pixels, alpha], axis=2)


def over_white(pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) of uint8 (H, W, 3 or 4): straight alpha over white, rounded to the nearest."""
    if pixels.shape[2] == 3:
        return pixels
    color, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def resized(pixels: np.ndarray, size: int, box: Box | None = None) -> np.ndarray:
    """The part `box` (left, top, right, bottom; all of it by default) as (size, size) pixels; alpha is respected."""
    if pixels.shape[:2] == (size, size) and box in (None, (0, 0, size, size)):
        return pixels
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS, box=box))
