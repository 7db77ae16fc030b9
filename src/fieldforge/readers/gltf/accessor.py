"""Accessors → arrays: every component type, normalised, sparse, strided; only the requested rows are read."""

from typing import Any

import numpy as np

from fieldforge.readers.file_store import AssetError
from fieldforge.readers.gltf.container import Json
from fieldforge.readers.gltf.document import Document, whole_number

COMPONENTS: dict[int, type[np.generic]] = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def count_of(document: Document, index: Any) -> int:
    """The number of elements that an accessor declares."""
    return whole_number(document.item("accessors", index), "count", None)


def read_numbers(document: Document, index: Any, rows: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """float64 (len(rows), width) of an accessor's elements, normalised where it says so.

    AssetError if a row is outside of it, data are missing, or its width is none of `widths`.
    """
    values = read_rows(document, index, rows, widths)
    accessor = document.item("accessors", index)
    return normalise(values) if accessor.get("normalized") is True else values.astype(np.float64)


def normalise(values: np.ndarray) -> np.ndarray:
    """Whole numbers of any type → float64 in 0…1, or -1…1 for signed ones. Floats stay."""
    if values.dtype.kind not in "iu":
        return values.astype(np.float64)
    return np.maximum(values / float(np.iinfo(values.dtype).max), -1.0)  # type: ignore[no-any-return]


def read_rows(document: Document, index: Any, rows: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """Elements (len(rows), width) of an accessor as they are stored. `rows` int64; AssetError as in read_numbers."""
    accessor = document.item("accessors", index)
    count = whole_number(accessor, "count", None)
    if len(rows) and (rows.min() < 0 or rows.max() >= count):
        raise AssetError(
            f"a face or a vertex refers to element {int(rows.max()):,} of accessors[{index}], which has {count:,}; "
            "export the mesh again."
        )
    width = WIDTHS.get(str(accessor.get("type")), 0)
    if width not in widths:
        raise AssetError(
            f"accessors[{index}] is of the type {accessor.get('type')!r}, which does not fit; export again."
        )
    dtype = _dtype(accessor)
    if "bufferView" in accessor:
        start = whole_number(accessor, "byteOffset", 0)
        values = _strided(document, accessor["bufferView"], start, count, width, dtype)[rows]
    else:
        values = np.zeros((len(rows), width), dtype)
    if isinstance(accessor.get("sparse"), dict):
        _replace(document, accessor["sparse"], rows, values)
    return values


def _replace(document: Document, sparse: Json, rows: np.ndarray, values: np.ndarray) -> None:
    """Puts the sparse elements of an accessor into `values` (len(rows), width), its elements at `rows`."""
    count = whole_number(sparse, "count", None)
    places, replacements = sparse.get("indices"), sparse.get("values")
    if not isinstance(places, dict) or not isinstance(replacements, dict):
        raise AssetError("a sparse accessor has no indices or no values; export the mesh again.")
    start = whole_number(places, "byteOffset", 0)
    at = _strided(document, places.get("bufferView"), start, count, 1, _dtype(places))[:, 0].astype(np.int64)
    start = whole_number(replacements, "byteOffset", 0)
    new = _strided(document, replacements.get("bufferView"), start, count, values.shape[1], values.dtype)
    if not count:
        return
    order = np.argsort(at, kind="stable")
    at, new = at[order], new[order]
    nearest = np.minimum(np.searchsorted(at, rows, side="right") - 1, count - 1)  # the last one where one is repeated
    hit = (nearest >= 0) & (at[nearest] == rows)
    values[hit] = new[nearest[hit]]


def _dtype(item: Json) -> np.dtype[Any]:
    kind = COMPONENTS.get(item.get("componentType", 0))
    if kind is None:
        raise AssetError(f"an accessor holds numbers of the unknown kind {item.get('componentType')!r}; export again.")
    return np.dtype(kind).newbyteorder("<")


def _strided(document: Document, view: Any, start: int, count: int, width: int, dtype: np.dtype[Any]) -> np.ndarray:
    """(count, width) elements of a buffer view without a copy. AssetError if they reach beyond it."""
    data, stride = document.view(view)
    size = dtype.itemsize * width
    stride = stride or size
    if count == 0:
        return np.empty((0, width), dtype)
    if stride < size or start + stride * (count - 1) + size > len(data):
        raise AssetError(
            f"the glTF cannot be read (an accessor of {count:,} elements reaches beyond bufferViews[{view}], "
            f"which has {len(data):,} bytes); export the mesh again."
        )
    return np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))
