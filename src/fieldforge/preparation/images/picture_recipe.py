"""The recipe of pictures."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fieldforge.data.image_schema import IMAGE
from fieldforge.data.image_transforms import Box, middle_square, over_white, resized, with_alpha
from fieldforge.errors import UserError
from fieldforge.preparation.asset_records import AssetRecord, split_of
from fieldforge.preparation.images.pixels import pixels_of
from fieldforge.preparation.recipe import PreparedAsset, Recipe
from fieldforge.ranges import Count, Pixels, Positive, ShareBelow1
from fieldforge.readers.file_store import AssetError, FileStore, Notes
from fieldforge.readers.limits import AssetLimits

THUMBNAIL_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class PictureLimits(AssetLimits):
    """Limits of pictures. `min_side`: pixels of the shorter side; `max_aspect`: longer side over shorter side."""

    min_side: Count = 16
    max_aspect: Positive = 4.0
    max_megapixels: Positive = 256.0


@dataclass(frozen=True, kw_only=True)
class PictureRecipe(Recipe):
    """The largest square in the middle of a picture, `size` pixels wide; smaller pictures stay as they are.

    Args:
        size: pixels.
        alpha: "keep" stores it (straight) where a picture is not opaque, "white" puts white behind.
        limits: beyond these a picture is rejected.
        heldout_share: of all name stems.
        samples_per_shard: pictures of a tar.
    """

    schema = IMAGE
    version = 1
    libraries = ("psutil",)
    preload = ("fieldforge.preparation.asset_process", "fieldforge.preparation.images.picture_recipe")

    size: Pixels
    alpha: Literal["keep", "white"]
    limits: PictureLimits
    heldout_share: ShareBelow1
    samples_per_shard: Count

    def __post_init__(self) -> None:
        if self.alpha not in ("keep", "white"):
            raise UserError(f"preparation.alpha={self.alpha} is unknown; write keep or white.")

    def prepare(self, record: AssetRecord, store: FileStore, seed: int) -> PreparedAsset:
        if record.reject is not None:
            raise AssetError(record.reject)
        picture = pixels_of(record.file, store.read(record.file), self.size, int(self.limits.max_megapixels * 1e6))
        notes = Notes(list(picture.notes))
        pixels = self._square(picture.pixels, notes)
        split = record.split or split_of(record.name, self.heldout_share)
        sample = {"meta.json": record.meta(record.captions or [record.name], split), "image.png": pixels}
        return PreparedAsset(self.schema.encode(record.key, sample), _thumbnail(pixels), notes.texts)

    def _square(self, pixels: np.ndarray, notes: Notes) -> np.ndarray:
        """uint8 (size, size, 3 or 4), or less of a smaller picture."""
        box, side = allowed_square(pixels.shape[1], pixels.shape[0], self.limits)
        if pixels.shape[2] == 4 and not pixels[..., 3].any():
            raise AssetError("it is transparent everywhere; nothing would be seen of it.")
        if side < self.size:
            notes.add(f"its shorter side has {side} pixels, fewer than preparation.size={self.size}: it stays so")
        square = resized(pixels, min(side, self.size), box)
        return over_white(square) if self.alpha == "white" else square


def allowed_square(width: int, height: int, limits: PictureLimits) -> tuple[Box, int]:
    """The largest square in the middle, and the pixels of its side. AssetError if the sides are beyond the limits."""
    side = min(height, width)
    if side < limits.min_side:
        raise AssetError(f"it has {width} x {height} pixels; preparation.limits.min_side is {limits.min_side}.")
    if max(height, width) > limits.max_aspect * side:
        raise AssetError(
            f"it has {width} x {height} pixels; preparation.limits.max_aspect is {limits.max_aspect:g}, so crop it."
        )
    return middle_square(height, width), side


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 4)."""
    return resized(with_alpha(pixels), THUMBNAIL_SIZE)
