"""Picture files of any kind as pixels in sRGB."""

import io
import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageCms, ImageOps

from fieldforge.data.codec import MOST_PIXELS, Payload

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF", "JPEG2000", "PPM", "TGA", "PCX", "ICO", "QOI")
"""What pillow may read here. Not among them is what it hands to other programs (EPS)."""

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@dataclass(frozen=True)
class Picture:
    """`pixels` uint8 (H, W, 3), or (H, W, 4) with straight alpha where not all of it is opaque; what was lost."""

    pixels: np.ndarray
    notes: tuple[str, ...] = ()


def read_picture(payload: Payload, enough: int | None = None, most_pixels: int = MOST_PIXELS) -> Picture:
    """The picture of a file, upright as its camera says, its first frame if it moves.

    Integers of 16 or 32 bits count as parts of their range, floats as 0…1. Colours with a profile are brought to sRGB.

    Args:
        payload: the file's bytes.
        enough: a JPEG may be unpacked at a half, a quarter or an eighth as long as no side is below this.
        most_pixels: ValueError for a picture of more, which is not unpacked.

    Raises:
        ValueError, OSError and whatever else a decoder says of damaged bytes.
    """
    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bombs: the size is checked here
        with Image.open(io.BytesIO(payload), formats=_formats()) as file:
            if file.width * file.height > most_pixels:
                raise ValueError(f"it has {file.width} x {file.height} pixels, which is too many")
            if getattr(file, "n_frames", 1) > 1 and file.format not in ("MPO", "ICO"):
                notes.append("it moves or has several pages: the first is taken")
            if enough is not None:
                file.draft(None, (enough, enough))
            picture = ImageOps.exif_transpose(file)
    return Picture(_opaque(np.asarray(_in_srgb(picture, notes))), tuple(notes))


def _in_srgb(picture: Image.Image, notes: list[str]) -> Image.Image:
    """The picture as RGB or RGBA."""
    if picture.mode == "F" or picture.mode.startswith("I"):
        return Image.fromarray(as_bytes(np.asarray(picture))).convert("RGB")
    if picture.has_transparency_data:
        mode = "RGBA"
    else:
        mode = "RGB"
        picture = _with_profile(picture, notes)
    return picture.convert(mode)


def _with_profile(picture: Image.Image, notes: list[str]) -> Image.Image:
    """The picture in sRGB, converted by the file's colour profile."""
    profile = picture.info.get("icc_profile")
    if picture.mode not in ("RGB", "CMYK") or not profile:
        if picture.mode == "CMYK":
            notes.append("its inks come without a profile: their colours are approximate")
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return picture
        converted = ImageCms.profileToProfile(picture, source, SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        notes.append(f"its colour profile cannot be used ({error}): its colours count as sRGB")
        return picture
    assert converted is not None
    return converted


def _opaque(pixels: np.ndarray) -> np.ndarray:
    """The picture without alpha where nothing is transparent."""
    return pixels[..., :3] if pixels.shape[2] == 4 and (pixels[..., 3] == 255).all() else pixels


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Values of any number type → uint8 of the same shape."""
    unit: np.ndarray
    if values.dtype.kind == "f":
        unit = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    elif values.dtype.itemsize <= 2:
        unit = values.astype(np.float32) / np.iinfo(values.dtype).max
    else:
        whole = values.astype(np.int64) & 0xFFFFFFFF  # pillow gives the 32 bits of a file as if they had a sign
        unit = whole.astype(np.float32) / (0xFFFF if whole.max(initial=0) <= 0xFFFF else 0xFFFFFFFF)
    return np.round(np.clip(unit, 0, 1) * 255).astype(np.uint8)


@cache
def _formats() -> tuple[str, ...]:
    """The formats of FORMATS that the installed pillow supports."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
