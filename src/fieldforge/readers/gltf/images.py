"""Texture pictures of a glTF, from files, data URIs and buffer views."""

from typing import Any

import numpy as np

from fieldforge.readers.file_store import AssetError, Notes
from fieldforge.readers.gltf.container import Json
from fieldforge.readers.gltf.document import Document, extension, readable
from fieldforge.readers.texture import decode_texture

BETTER = ("EXT_texture_webp", "EXT_texture_avif")
"""Formats that stand before a texture's plain source, which is often smaller or left out."""

LAST = ("KHR_texture_basisu", "MSFT_texture_dds")
"""Formats that are read badly or not at all: tried where there is nothing else."""


class Images:
    """Pictures of a document, each unpacked once; missing ones are noted."""

    def __init__(self, document: Document, notes: Notes) -> None:
        self._document, self._notes = document, notes
        self._pixels: dict[Any, np.ndarray | str] = {}

    def pixels(self, texture: Json) -> np.ndarray | None:
        """uint8 (H, W, 4) of the best picture of a texture that can be read; None, and a note, if there is none."""
        failures = []
        for source in _sources(texture):
            picture = self._of_source(source)
            if isinstance(picture, np.ndarray):
                return picture
            failures.append(picture)
        for failure in failures or ["a texture names no picture: its faces keep their plain colour"]:
            self._notes.add(failure)
        return None

    def _of_source(self, source: Any) -> np.ndarray | str:
        """The picture, or why it cannot be had."""
        if source not in self._pixels:
            image = self._document.item("images", source)
            name = _name(image, source)
            try:
                payload = self._payload(image)
                if payload is None:
                    self._pixels[source] = f"the texture '{name}' is missing: its faces keep their plain colour"
                else:
                    self._pixels[source] = decode_texture(payload)
            except AssetError as error:
                self._pixels[source] = f"texture '{name}': {error}"
        return self._pixels[source]

    def _payload(self, image: Json) -> bytes | None:
        if isinstance(image.get("uri"), str):
            return self._document.resource(image["uri"])
        if "bufferView" in image:
            return bytes(self._document.view(image["bufferView"])[0])
        return None


def _sources(texture: Json) -> list[Any]:
    """Indices of pictures of a texture, the best first."""
    before = [(extension(texture, name) or {}).get("source") for name in BETTER]
    after = [(extension(texture, name) or {}).get("source") for name in LAST]
    return [source for source in (*before, texture.get("source"), *after) if source is not None]


def _name(image: Json, index: Any) -> str:
    """Name of a picture for a note."""
    uri = image.get("uri")
    if isinstance(uri, str) and uri[:5].lower() != "data:":
        return readable(uri)
    return str(image.get("name") or f"images[{index}]")
