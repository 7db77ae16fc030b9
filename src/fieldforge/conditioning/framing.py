"""Framing of condition pictures of any size, with alpha or a plain background."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from fieldforge.errors import UserError, install_command

MAX_PIXELS = 100_000_000
PLAIN_TOLERANCE = 18  # levels of 255 that a "plain" background may vary by (JPEG noise, soft gradients)
PLAIN_SHARE = 0.95  # of the border's pixels


def load_picture(path: str | Path) -> np.ndarray:
    """A picture file as uint8 RGBA (H, W, 4), turned as its camera says.

    Raises UserError: missing, unreadable or cut off, of more than 100 megapixels, or blank.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"image={path}: there is no such file, give the path of a PNG, JPEG or WebP picture.")
    return read_picture(path, f"image={path}", MAX_PIXELS)


def read_picture(file: Path | BinaryIO, where: str, most: int, formats: tuple[str, ...] | None = None) -> np.ndarray:
    """The picture in a file as uint8 RGBA (H, W, 4), turned as its camera says.

    Args:
        file: its path, or the open file.
        where: begins the sentences of errors.
        most: pixels.
        formats: Pillow's names of the accepted formats; None: all.

    Raises:
        UserError: unreadable or cut off, of more than `most` pixels, or blank.
    """
    try:
        with Image.open(file, formats=formats) as opened:
            if opened.width * opened.height > most:
                raise UserError(f"{where}: {opened.width} x {opened.height} pixels are too many, scale it down.")
            pixels = np.asarray(_eight_bits(ImageOps.exif_transpose(opened)).convert("RGBA"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where}: not a readable picture ({error}), save it again as PNG or JPEG.") from error
    check_not_blank(pixels, where)
    return pixels


def check_not_blank(pixels: np.ndarray, where: str) -> None:
    """UserError where nothing can be seen: fully transparent, or one colour all over."""
    colors = pixels[..., :3][pixels[..., 3] > 8] if pixels.shape[-1] == 4 else pixels.reshape(-1, 3)
    if len(colors) == 0:
        raise UserError(f"{where}: the picture is fully transparent, give one that shows the object.")
    uniform = int(np.ptp(colors.astype(np.int16), axis=0).max()) <= 2
    if uniform and len(colors) == pixels.shape[0] * pixels.shape[1]:
        raise UserError(f"{where}: the picture is blank (one colour all over), give one that shows the object.")


def frame(pixels: np.ndarray, size: int, margin: float = 0.1, background: float = 1.0) -> np.ndarray:
    """One picture for an encoder: the object alone, centred on a grey square that it fills up to `margin`.

    Alpha gives the object, else the removal of a plain background; a picture with neither is cropped to its central
    square. Views in training and photographs in sampling are framed alike.

    Args:
        pixels: uint8 (H, W, 3) or straight RGBA (H, W, 4).
        size: pixels of the result's side.
        margin: share of the square's side that stays free on each side.
        background: grey in [0, 1] behind the object.

    Returns:
        uint8 (size, size, 3).
    """
    alpha = object_mask(pixels)
    if alpha is None:
        return _resized(_central_square(pixels[..., :3]), size)
    ground = round(255 * background)
    opaque = alpha[..., None].astype(np.float32) / 255
    over = np.rint(pixels[..., :3] * opaque + ground * (1 - opaque)).astype(np.uint8)  # (H, W, 3)
    rows, columns = np.flatnonzero((alpha > 8).any(1)), np.flatnonzero((alpha > 8).any(0))
    if len(rows) == 0:
        return np.full((size, size, 3), ground, np.uint8)
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = max(bottom - top, right - left) / (1 - 2 * margin)
    room = int(np.ceil(side / 2))  # pixels of ground around the object, enough for any crop of `side` about its middle
    padded = np.pad(over[top:bottom, left:right], ((room, room), (room, room), (0, 0)), constant_values=ground)
    y, x = padded.shape[0] / 2, padded.shape[1] / 2
    return _resized(padded, size, (x - side / 2, y - side / 2, x + side / 2, y + side / 2))


def object_mask(pixels: np.ndarray) -> np.ndarray | None:
    """Opacity of the object, uint8 (H, W): the alpha channel, else the complement of a plain background; None without
    either.
    """
    if pixels.shape[-1] == 4 and pixels[..., 3].min() < 250:
        return pixels[..., 3]
    rgb = pixels[..., :3].astype(np.int16)
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    near = np.abs(rgb - np.median(border, axis=0)).max(-1) <= PLAIN_TOLERANCE  # (H, W)
    ring = np.concatenate([near[0], near[-1], near[:, 0], near[:, -1]])
    if ring.mean() < PLAIN_SHARE:
        return None
    # Only what hangs together with the border is background: a white cushion on a white ground stays.
    areas, _ = ndimage.label(near)
    outer = np.unique(np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]]))
    background = np.isin(areas, outer[outer > 0])
    return None if background.all() else np.where(background, 0, 255).astype(np.uint8)


def remove_background(pixels: np.ndarray) -> np.ndarray:
    """RGBA (H, W, 4) with the background cut away by the segmentation network U²-Net (arXiv 2005.09007).

    The optional package `rembg` brings it. Raises UserError where it, or the network's weights, are missing.
    """
    try:
        from rembg import new_session, remove
    except ImportError as error:
        raise UserError(f"remove_background=true needs the package rembg: {install_command('background')}.") from error
    try:
        session = new_session("u2net")  # its own default is not for commercial use
    except OSError as error:
        raise UserError(
            "remove_background=true: the weights u2net.onnx could not be fetched "
            f"({type(error).__name__}): run `rembg d u2net` where there is a network, copy the file here, and set "
            "U2NET_HOME to its folder."
        ) from error
    return np.asarray(remove(Image.fromarray(pixels[..., :3]), session=session)).astype(np.uint8)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Greys of 16 bits scaled down, which Pillow's conversion would clip; other pictures as they are."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8))


def _central_square(rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return rgb[top : top + side, left : left + side]


def _resized(rgb: np.ndarray, size: int, box: tuple[float, float, float, float] | None = None) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))
