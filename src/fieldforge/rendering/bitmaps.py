"""Conversion of pictures between tensors, PIL images and files. Axis letters: H/W pixels, V pictures."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from fieldforge.storage.files import temporary_name

PAPER = (246, 246, 244)  # sRGB, the background where a picture has to be opaque


def image_of(view: Tensor) -> Image.Image:
    """RGBA image (straight alpha) of a view (H, W, 4) from the volume renderer: premultiplied rgb and opacity."""
    pixels = view.detach().float().cpu().numpy()
    alpha = pixels[..., 3:]
    straight = np.concatenate([pixels[..., :3] / np.maximum(alpha, 1e-6), alpha], axis=-1)
    return Image.fromarray(np.round(straight.clip(0, 1) * 255).astype(np.uint8), "RGBA")


def flatten(picture: Image.Image, background: tuple[int, int, int] = PAPER) -> Image.Image:
    """The picture on an opaque background (sRGB 0…255), as RGB."""
    ground = Image.new("RGBA", picture.size, (*background, 255))
    return Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def pixels_of(payload: bytes) -> np.ndarray:
    """uint8 RGBA (H, W, 4) of a picture file."""
    with Image.open(io.BytesIO(payload)) as picture:
        return np.asarray(picture.convert("RGBA"))


def write_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG atomically."""
    write_whole(png_bytes(picture), path)


def write_gif(frames: Sequence[Image.Image], path: Path, seconds: float) -> None:
    """Write opaque frames of one size as a looping animation of this length, with one palette."""
    write_whole(gif_bytes(frames, seconds), path)


def gif_bytes(frames: Sequence[Image.Image], seconds: float) -> bytes:
    """Opaque frames of one size as a looping animation of this length, with one palette."""
    width, height = frames[0].size
    samples = frames[:: max(1, len(frames) // 6)]
    strip = Image.new("RGB", (width, height * len(samples)))
    for index, frame in enumerate(samples):
        strip.paste(frame, (0, index * height))
    palette = strip.quantize(256, Image.Quantize.MEDIANCUT)
    coded = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    duration = round(1000 * seconds / len(frames))
    coded[0].save(buffer, "GIF", save_all=True, append_images=coded[1:], duration=duration, loop=0, optimize=False)
    return buffer.getvalue()


def write_whole(data: bytes, path: Path) -> None:
    """Write a file atomically: under a temporary name first."""
    partial = temporary_name(path)
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
