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
    return {f"{path.stem if stems[path.stem] == 1 else stage_and_stem(path)}.jpg": jpeg(path) for path in sheets}


def stage_and_stem(path: Path) -> str:
    """Tells apart the sheets of a model and of its autoencoder, `<name>/<run>/<folder>/<file>`."""
    return f"{path.parents[2].name}_{path.stem}"


def jpeg(path: Path) -> bytes:
    """A picture file as JPEG, at most `WIDEST` pixels wide."""
    with Image.open(path) as opened:
        picture = flatten(opened)
    picture.thumbnail((WIDEST, picture.height))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
