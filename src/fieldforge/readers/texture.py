"""Picture files as textures of a mesh."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import numpy as np
from PIL import Image

from fieldforge.data.picture_files import as_bytes
from fieldforge.readers.file_store import AssetError

MAX_TEXTURE_PIXELS = 2**26
"""A picture of more pixels is not unpacked."""

MAX_ASSET_PIXELS = 2**30
"""Of all pictures of an asset together: beyond it the asset is rejected. Drafts of JPEGs count as they are unpacked."""

MAX_TEXTURE_SIDE = 1024
"""Bigger textures are reduced: a texel is then still finer than the samples taken."""

FORMATS = (
    "PNG", "JPEG", "WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF", "JPEG2000", "DDS", "PSD", "ICO", "PPM", "SGI", "PCX",
    "QOI", "TGA",
)  # fmt: skip
"""What pillow may read here. Not among them is what it hands to other programs (EPS)."""

UNREADABLE = {
    b"\xabKTX 20": "KTX2",
    b"\xabKTX 11": "KTX",
    b"sB\x13\x00": "Basis Universal",
    b"DDS ": "DDS",
    b"PVR\x03": "PVR",
    b"\x13\xab\xa1\x5c": "ASTC",
    b"VTF\x00": "VTF",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?R": "Radiance HDR",
    b"gimp xcf": "XCF",
    b"%!PS": "EPS",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"<?xml": "SVG",
    b"<!DOCTYPE": "web page",
    b"<html": "web page",
    b"version https://git-lfs": "Git LFS pointer",
}
"""First bytes → name of formats that are met as textures and that pillow does not read, or not always."""


_unpacked: ContextVar[list[int] | None] = ContextVar("_unpacked", default=None)


@contextmanager
def pixel_limit() -> Iterator[None]:
    """Inside, one asset is read. AssetError if its pictures have too many pixels together; the last stay packed."""
    areas: list[int] = []
    token = _unpacked.set(areas)
    try:
        yield
    finally:
        _unpacked.reset(token)
    if sum(areas) > MAX_ASSET_PIXELS:
        raise AssetError(
            f"its textures have more than {MAX_ASSET_PIXELS / 2**20:,.0f} megapixels together, which is too many; make "
            "them smaller."
        )


def decode_texture(payload: bytes) -> np.ndarray:
    """uint8 (H, W, 4) of a picture, at most MAX_TEXTURE_SIDE wide and high; see `texture_array`.

    AssetError if it cannot be read; it names the format where it is one that is known and not read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(payload), formats=_formats()) as picture:
                picture.draft("RGB", (MAX_TEXTURE_SIDE, MAX_TEXTURE_SIDE))
                return texture_array(picture)
    except AssetError:
        raise
    except MemoryError:  # the machine's matter
        raise
    except Exception as error:  # decoders of damaged pictures fail in every way there is
        if payload[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _decode_tiff(payload)
        kind = next((name for start, name in UNREADABLE.items() if payload.lstrip().startswith(start)), None)
        if kind is not None:
            raise AssetError(f"the texture is of a kind that is not read ({kind}); save it as PNG or JPEG.") from error
        reason = "it is no picture" if isinstance(error, Image.UnidentifiedImageError) else error
        raise AssetError(f"the texture cannot be read ({reason}); save it again.") from error


def texture_array(picture: Image.Image) -> np.ndarray:
    """uint8 (H, W, 4) of a picture, at most MAX_TEXTURE_SIDE wide and high. AssetError if it is too big or damaged.

    Integers count as parts of their range: 16 bits, or 32 where a value needs more. Floats count as 0…1, what is above
    is clipped. Values are sRGB as they stand.
    """
    width, height = picture.size
    _check_pixels(width, height)
    try:
        if picture.mode == "F" or picture.mode.startswith("I"):
            picture = Image.fromarray(as_bytes(np.asarray(picture)))
        rgba = picture.convert("RGBA")
    except MemoryError:
        raise
    except Exception as error:
        raise AssetError(f"the texture cannot be read ({error}); save it again.") from error
    if max(rgba.size) > MAX_TEXTURE_SIDE:
        rgba.thumbnail((MAX_TEXTURE_SIDE, MAX_TEXTURE_SIDE), Image.Resampling.BOX)
    return np.asarray(rgba)


@cache
def _formats() -> tuple[str, ...]:
    """The formats of FORMATS that the installed pillow supports."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _decode_tiff(payload: bytes) -> np.ndarray:
    """TIFF of the kinds that pillow does not know, as pictures of floats."""
    import tifffile  # seldom needed

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it says of a damaged file, the exception says
    try:
        with tifffile.TiffFile(io.BytesIO(payload)) as file:
            page = file.pages[0]
            assert isinstance(page, tifffile.TiffPage)
            _check_pixels(page.imagewidth, page.imagelength)
            if page.photometric not in (1, 2):  # darkness, palettes, inks and the like, of more than 8 bits
                kind = tifffile.PHOTOMETRIC(page.photometric)
                raise AssetError(f"the texture's colours are of a kind that is not read ({kind!r}); save it as PNG.")
            values = page.asarray()
        if page.planarconfig == 2 and values.ndim == 3:  # channels one after the other
            values = np.moveaxis(values, 0, -1)
        channels = 1 if values.ndim == 2 else values.shape[-1]
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
        return texture_array(Image.frombytes(mode, values.shape[1::-1], as_bytes(values).tobytes()))
    except AssetError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        raise AssetError(f"the texture cannot be read (TIFF: {error}); save it as PNG.") from error


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_TEXTURE_PIXELS:
        raise AssetError(f"the texture has {width} x {height} pixels, which is too many; make it smaller.")
    areas = _unpacked.get()
    if areas is not None:
        areas.append(width * height)
        if sum(areas) > MAX_ASSET_PIXELS:
            raise AssetError("the asset's textures before it have too many pixels already; make them smaller.")
