"""Contact sheet: one picture of all prepared samples, for inspection before training."""

from typing import TypeVar
from unicodedata import normalize

import numpy as np
from PIL import Image, ImageDraw

from fieldforge.rendering.font import label_font

TILE = 128
TEXT = 14
MAX_TILES = 240
PAPER = (246, 246, 244)
T = TypeVar("T")


def even_choice(items: list[T]) -> list[T]:
    """What a sheet shows: all, or MAX_TILES evenly chosen ones."""
    if len(items) <= MAX_TILES:
        return items
    return [items[index] for index in np.linspace(0, len(items) - 1, MAX_TILES).round().astype(int)]


def contact_sheet(tiles: list[tuple[str, np.ndarray]], columns: int = 16) -> Image.Image:
    """Named RGBA pictures uint8 (H, W, 4) in a grid on light paper."""
    assert tiles, "a contact sheet needs a picture"
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * TILE, rows * (TILE + TEXT)), PAPER)
    draw, font = ImageDraw.Draw(sheet), label_font(10)
    for index, (name, pixels) in enumerate(tiles):
        left, top = index % columns * TILE, index // columns * (TILE + TEXT)
        picture = Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.LANCZOS)
        sheet.paste(picture, (left, top), picture)
        draw.text((left + TILE / 2, top + TILE), normalize("NFC", name)[:22], (60, 60, 60), font, anchor="ma")
    return sheet.quantize(256)  # a third of the bytes, and no difference to the eye
