"""Pixels of a picture file; any defect rejects the picture."""

import importlib.util

from fieldforge.data.picture_files import Picture, read_picture
from fieldforge.errors import UserError, install_command
from fieldforge.preparation.images.svg import rasterise
from fieldforge.readers.file_store import AssetError
from fieldforge.readers.texture import UNREADABLE, decode_texture

ENDINGS = (
    "png", "jpg", "jpeg", "jfif", "webp", "avif", "bmp", "gif", "tif", "tiff", "jp2", "ppm", "pgm", "tga", "pcx", "ico",
    "qoi", "svg",
)  # fmt: skip


def pixels_of(name: str, payload: bytes, size: int | None, max_pixels: int) -> Picture:
    """The picture of a file. With `size` it may be smaller than it is, but no side below twice that.

    Raises:
        AssetError: it cannot be used.
        UserError: it is an SVG, and what draws them is not installed.
    """
    if not payload:
        raise AssetError("the file is empty; get it again.")
    notes: list[str] = []
    if name.lower().endswith(".svg"):
        if importlib.util.find_spec("resvg_py") is None:
            raise UserError(f"drawing '{name}' needs the package resvg_py: {install_command('prepare')}.")
        payload, notes = rasterise(payload, size or 512)
    try:
        picture = read_picture(payload, None if size is None else 2 * size, max_pixels)
    except MemoryError:  # the machine's matter
        raise
    except Exception as error:  # decoders of damaged pictures fail in every way there is
        picture = _of_rare_kind(payload, error)
    return Picture(picture.pixels, (*notes, *picture.notes))


def _of_rare_kind(payload: bytes, error: Exception) -> Picture:
    """TIFFs that pillow does not know. AssetError, which names the kind where it is a known one, for all else."""
    if payload[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and "too many" not in str(error):
        rgba = decode_texture(payload)
        return Picture(rgba if (rgba[..., 3] < 255).any() else rgba[..., :3])
    kind = next((name for start, name in UNREADABLE.items() if payload.lstrip().startswith(start)), None)
    if kind is not None:
        raise AssetError(f"the file is of a kind that is not read ({kind}); save it as PNG or JPEG.") from error
    reason = "it is no picture" if "cannot identify" in str(error) else error
    raise AssetError(f"the picture cannot be read ({reason}); save it again, or take it away.") from error
