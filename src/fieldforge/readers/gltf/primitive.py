"""One primitive: its triangles and the attributes of their corners."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fieldforge.readers.file_store import AssetError
from fieldforge.readers.gltf.accessor import count_of, normalise, read_numbers, read_rows
from fieldforge.readers.gltf.container import Json
from fieldforge.readers.gltf.document import Document, extension
from fieldforge.readers.gltf.draco import DracoMesh, decode_draco

DRACO = "KHR_draco_mesh_compression"

TRIANGLES, STRIP, FAN = 4, 5, 6


def triangle_count(document: Document, primitive: Json) -> int:
    """The number of triangles that a primitive declares; 0 for points and lines. AssetError for an unknown mode."""
    mode = primitive.get("mode", TRIANGLES)
    if mode in (0, 1, 2, 3) or "POSITION" not in attributes_of(primitive):
        return 0
    index = primitive["indices"] if "indices" in primitive else attributes_of(primitive)["POSITION"]
    corners = count_of(document, index)
    if mode == TRIANGLES:
        return corners // 3
    if mode in (STRIP, FAN):
        return max(corners - 2, 0)
    raise AssetError(f"a part of the mesh is drawn in the unknown mode {mode!r}; export the mesh again.")


def attributes_of(primitive: Json) -> Json:
    """Accessors by the attribute's name."""
    attributes = primitive.get("attributes")
    return attributes if isinstance(attributes, dict) else {}


@dataclass(frozen=True)
class Primitive:
    """Triangles of one primitive over the vertices that they use, under morph weights."""

    document: Document
    json: Json
    weights: tuple[float, ...] = ()

    @cached_property
    def _draco(self) -> DracoMesh | None:
        """The Draco-compressed data. Attributes that also exist uncompressed are read uncompressed, where the file
        allows it.
        """
        compressed = extension(self.json, DRACO)
        if compressed is None:
            return None
        position = self.document.item("accessors", attributes_of(self.json).get("POSITION"))
        if "bufferView" in position and DRACO not in self.document.required:
            return None
        return decode_draco(self.document, compressed)

    @cached_property
    def _used(self) -> tuple[np.ndarray, np.ndarray]:
        """Vertex numbers (P,) that triangles use, and the triangles (F, 3) as places in them."""
        corners = self._triangles()
        used, places = np.unique(corners, return_inverse=True)
        return used, places.reshape(-1, 3)

    @property
    def faces(self) -> np.ndarray:
        """(F, 3) int64."""
        return self._used[1]

    def _triangles(self) -> np.ndarray:
        if self._draco is not None:
            return self._draco.faces
        document, mode = self.document, self.json.get("mode", TRIANGLES)
        if "indices" in self.json:
            rows = np.arange(count_of(document, self.json["indices"]))
            corners = read_rows(document, self.json["indices"], rows, (1,))[:, 0]
            if corners.dtype.kind not in "iu":
                raise AssetError("the indices of a part of the mesh are no whole numbers; export the mesh again.")
            corners = corners.astype(np.int64)
        else:
            corners = np.arange(count_of(document, attributes_of(self.json)["POSITION"]))
        return triangles_of(corners, mode)

    def attribute(self, name: str, widths: tuple[int, ...], fraction: bool = False) -> np.ndarray | None:
        """float64 (P, width) of an attribute, morphed; None if the primitive lacks it.

        `fraction`: whole numbers stand for 0…1 even where the file forgets to say so.
        """
        index = attributes_of(self.json).get(name)
        if index is None:
            return None
        used, _ = self._used
        values = self._stored(name, index, used, widths)
        whole = values.dtype.kind in "iu"
        as_fraction = fraction or self.document.item("accessors", index).get("normalized") is True
        values = normalise(values) if whole and as_fraction else values.astype(np.float64)
        for target, weight in zip(self.json.get("targets", []), self.weights, strict=False):
            if weight and name in target:
                values += weight * read_numbers(self.document, target[name], used, (values.shape[1],))
        return values

    def _stored(self, name: str, index: Any, used: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
        if self._draco is None or name not in self._draco.attributes:
            return read_rows(self.document, index, used, widths)
        values = self._draco.attributes[name]
        if values.shape[1] not in widths:
            raise AssetError(f"the Draco data of {name} have {values.shape[1]} components; export without compression.")
        return values[used]


def triangles_of(corners: np.ndarray, mode: int) -> np.ndarray:
    """Triangles (F, 3) of a list of corners (N,); what is left over of the last one is dropped."""
    if mode == TRIANGLES:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    step = np.arange(max(len(corners) - 2, 0))
    if mode == FAN:
        return np.stack([corners[step + 1], corners[step + 2], corners[step * 0]], axis=1)
    odd = step % 2  # every other triangle of a strip is turned around
    return np.stack([corners[step], corners[step + 1 + odd], corners[step + 2 - odd]], axis=1)
