"""Materials of Wavefront MTL files."""

import numpy as np

from fieldforge.geometry.mesh import Material
from fieldforge.preparation.readers.beside import read_beside
from fieldforge.preparation.readers.texture import decode_texture
from fieldforge.preparation.stores import AssetError, FileStore, Notes


def read_libraries(store: FileStore, folder: str, libraries: list[str], notes: Notes) -> dict[str, Material]:
    """Materials by name over all MTL files that can be found; a missing file is noted, its faces stay plain."""
    known: dict[str, Material] = {}
    for library in libraries:
        payload = read_beside(store, folder, library)
        if payload is None:
            notes.add(f"the material file '{library}' is missing: its faces are plain grey")
        else:
            known.update(parse_mtl(payload, store, folder, notes))
    return known


def parse_mtl(payload: bytes, store: FileStore, folder: str, notes: Notes) -> dict[str, Material]:
    """Kd, d / Tr and map_Kd of each material. A missing or damaged texture is noted; its faces then keep Kd."""
    found: dict[str, Material] = {}
    name, color, alpha, texture = "", (0.8, 0.8, 0.8), 1.0, None
    for line in [*payload.splitlines(), b"newmtl"]:
        keyword, _, rest = line.strip().partition(b" ")
        words = rest.split()
        if keyword == b"newmtl":
            if name:
                found[name] = Material((*color, alpha), texture, (1.0, 1.0, 1.0, alpha))
            name, color, alpha, texture = text_of(rest), (0.8, 0.8, 0.8), 1.0, None
        elif keyword == b"Kd" and len(words) >= 3:
            color = tuple(_unit(word) for word in words[:3])  # type: ignore[assignment]
        elif keyword == b"d" and words:
            alpha = _unit(words[-1])  # the last: "d -halo 0.5"
        elif keyword == b"Tr" and words:
            alpha = 1 - _unit(words[-1])
        elif keyword == b"map_Kd" and words:
            texture = _load_texture(store, folder, text_of(rest), text_of(words[-1]), notes)
    return found


def _unit(word: bytes) -> float:
    try:
        return float(np.clip(float(word), 0, 1)) if np.isfinite(float(word)) else 1.0
    except ValueError:
        raise AssetError(f"a material value '{text_of(word)}' is not a number; export the materials again.") from None


def _load_texture(store: FileStore, folder: str, reference: str, last_word: str, notes: Notes) -> np.ndarray | None:
    for candidate in dict.fromkeys((reference, last_word)):  # options may stand before the name: "-s 1 1 1 wood.jpg"
        try:
            payload = read_beside(store, folder, candidate)
            if payload is not None:
                return decode_texture(payload)
        except AssetError as error:
            notes.add(f"texture '{candidate}': {error}")
            return None
    notes.add(f"the texture '{reference}' is missing: its faces keep their plain colour")
    return None


def text_of(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape").strip()
