"""Inpainting masks: white is sampled anew, black is kept. H = W pixels, h × w cells of the latent's grid, T = h · w."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fieldforge.data.image_transforms import over_white
from fieldforge.data.picture_files import Picture, read_picture
from fieldforge.errors import UserError


def picture_file(path: Path, key: str) -> Picture:
    """The picture of a file. UserError, which names the config `key`, for a missing or unreadable file."""
    if not path.is_file():
        raise UserError(f"{key}={path}: there is no such file, give the path of a picture")
    try:
        return read_picture(path.read_bytes())
    except (UserError, ValueError, OSError) as error:
        raise UserError(f"{key}={path}: {error}") from error


def read_mask(path: Path, picture: Path, size: int) -> np.ndarray:
    """Mask bool (size, size) of the picture's central square, the autoencoder's input: True = sample anew.

    A pixel is kept if its whole area in the file is black. Transparency counts as white.

    Args:
        path: mask file.
        picture: picture file, of the same size.
        size: pixels along a side of the result.

    Raises:
        UserError: an unreadable file, or a mask of another size than the picture.
    """
    white = over_white(picture_file(path, "mask").pixels).mean(2) >= 128  # (height, width)
    height, width = picture_file(picture, "from").pixels.shape[:2]
    if white.shape != (height, width):
        raise UserError(
            f"mask={path} has {white.shape[1]} × {white.shape[0]} pixels and from={picture} {width} × {height}: give a "
            f"mask of the picture's size"
        )
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(white[top : top + side, left : left + side].astype(np.float32))
    return np.asarray(square.resize((size, size), Image.Resampling.BOX)) > 0


def anew_tokens(anew: np.ndarray, grid: Sequence[int] | None, path: Path) -> np.ndarray:
    """Mask bool (T,) of latent tokens from a mask of pixels; a token is kept only if all its pixels are.

    Args:
        anew: bool (H, W), True = sample anew.
        grid: (h, w) of the latent; None: tokens without places.
        path: mask file, for messages.

    Raises:
        UserError: latents without a grid that divides the picture, or a mask that keeps nothing or everything.
    """
    if grid is None or len(grid) != 2 or any(side % cells for side, cells in zip(anew.shape, grid, strict=True)):
        raise UserError(f"mask={path}: the latents of this model have no places in the picture, leave it out")
    rows, columns = (side // cells for side, cells in zip(anew.shape, grid, strict=True))
    tokens = anew.reshape(grid[0], rows, grid[1], columns).any((1, 3)).reshape(-1)  # (T,)
    if not anew.any():
        raise UserError(f"mask={path} is black all over, which keeps everything: paint white what is to be drawn anew")
    if tokens.all():
        raise UserError(
            f"mask={path} keeps no cell of {columns} × {rows} pixels: paint black what is to stay, or leave out both "
            f"mask= and from="
        )
    return tokens
