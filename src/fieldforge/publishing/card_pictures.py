"""Pictures of a card: the sheets that evaluate.py wrote of a model, else the last ones of its training."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from fieldforge.rendering.bitmaps import flatten

WIDEST = 1600  # pixels
QUALITY = 85


def card_pictures(folders: Iterable[Path]) -> dict[str, bytes]:
    """File name → JPEG of each sheet below the run directories of a model and its autoencoder."""
    places = list(folders)
    sheets = [path for folder in places for path in sorted((folder / "evaluation").glob("*.png"))]
    if not sheets:
        sheets = [path for folder in places for path in sorted((folder / "pictures").glob("step_*.png"))[-1:]][:1]
    stems = Counter(path.stem for path in sheets)
    return {f"{name_of(path, stems[path.stem] > 1)}.jpg": jpeg(path) for path in sheets}


def name_of(sheet: Path, shared: bool) -> str:
    """Of `<name>/<run>/<folder>/<stem>.png`: its stem; with the run's name before it, where others have the same."""
    return f"{sheet.parents[2].name}_{sheet.parents[1].name}_{sheet.stem}" if shared else sheet.stem


def jpeg(path: Path) -> bytes:
    """A picture file as JPEG, at most `WIDEST` pixels wide."""
    with Image.open(path) as opened:
        picture = flatten(opened)
    picture.thumbnail((WIDEST, picture.height))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
