"""The font of labels in pictures."""

from functools import cache
from pathlib import Path

from PIL import ImageFont


@cache
def label_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, `size` pixels high: Latin, Greek, Cyrillic and Arabic letters, and symbols.

    Pillow's own font has ASCII alone; this one comes with matplotlib.
    """
    import matplotlib  # here, as most of what draws pictures has nothing to write in them

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
