"""Contact sheet: one picture of all prepared samples, for inspection before training."""

from unicodedata import normalize

import numpy as np
from PIL import Image, ImageDraw

from fieldforge.rendering.font import label_font

TILE = 128
TEXT = 14
MAX_TILES = 240
PAPER = (246, 246, 244)


def contact_sheet(tiles: list[tuple[str, np.ndarray]], columns: int = 16) -> Image.Image:
    """Named RGBA pictures uint8 (H, W, 4) in a grid on light paper; evenly chosen ones if there are too many."""
    assert tiles, "a contact sheet needs a picture"
    if len(tiles) > MAX_TILES:
        tiles = [tiles[index] for index in np.linspace(0, len(tiles) - 1, MAX_TILES).round().astype(int)]
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
