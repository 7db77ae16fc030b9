"""STL, binary and ASCII, distinguished by their content: the first word may be the same in both."""

import re
import struct

import numpy as np

from fieldforge.geometry.mesh import Material, Mesh
from fieldforge.readers.file_store import AssetError, FileStore, Notes
from fieldforge.readers.limits import Limits, check_announced
from fieldforge.readers.numbers import parse_numbers

HEAD = 84  # a free text of 80 bytes and the count
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
VERTEX = re.compile(rb"(?<!\S)vertex\s+(\S+)\s+(\S+)\s+(\S+)", re.IGNORECASE)
FACET = re.compile(rb"(?<!\S)facet(?=\s)", re.IGNORECASE)
NAME = re.compile(rb"^[ \t]*(end)?solid\b(?![^\n]*\sendfacet\b)[^\n]*", re.IGNORECASE | re.MULTILINE)
"""The line of a solid's name, in which any word may stand, unless facets follow in the same line."""

PLAIN, WHITE = Material(), Material((1.0, 1.0, 1.0, 1.0))


def read_stl(store: FileStore, name: str, limits: Limits, notes: Notes) -> Mesh:
    """Mesh of an STL file, every triangle with corners of its own. AssetError with the reason if it cannot be used."""
    payload = store.read(name)
    if _is_binary(payload):
        return _read_binary(payload, limits, notes)
    return _read_ascii(payload, limits, notes)


def _is_binary(payload: bytes) -> bool:
    if len(payload) >= HEAD and len(payload) == HEAD + TRIANGLE.itemsize * _announced(payload):
        return True
    if payload.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    words = payload[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    begins = words.startswith(b"solid") or FACET.search(words) is not None
    return not (begins and b"\0" not in payload[:4096])


def _announced(payload: bytes) -> int:
    return int(struct.unpack_from("<I", payload, 80)[0])


def _read_binary(payload: bytes, limits: Limits, notes: Notes) -> Mesh:
    if len(payload) < HEAD:
        raise AssetError("the STL file cannot be read: it is too short; copy or export it again.")
    count = _triangle_count(payload, limits, notes)
    check_announced(count, limits)
    rows = np.frombuffer(payload, TRIANGLE, count, HEAD)
    if not count:
        raise AssetError("the file holds no faces; export the mesh again.")
    colors = _colors(payload[:80], rows["attribute"].astype(np.int64))
    return _mesh(rows["corners"].astype(np.float64), colors)


def _triangle_count(payload: bytes, limits: Limits, notes: Notes) -> int:
    """The number of triangles, by the file's size where the count contradicts it. AssetError: the file is truncated."""
    announced = _announced(payload)
    capacity, beyond = divmod(len(payload) - HEAD, TRIANGLE.itemsize)
    if announced == capacity:
        if beyond:
            notes.add(f"{beyond} bytes stand behind its last triangle: they are left out")
        return capacity
    never_set = announced in (0, 2**32 - 1)  # a program that wrote as it went
    check_announced(min(announced, capacity), limits)
    if announced > capacity and beyond and not never_set:
        raise AssetError(
            f"the file announces {announced:,} triangles and ends within number {capacity + 1:,}; "
            "it is cut off: copy or export it again."
        )
    if announced < capacity and not never_set:
        further = np.frombuffer(payload, TRIANGLE, capacity - announced, HEAD + TRIANGLE.itemsize * announced)
        with np.errstate(invalid="ignore"):
            sound = np.isfinite(further["corners"]).all() and (np.ptp(further["corners"], axis=1).max(axis=1) > 0).all()
        if beyond or not sound:  # no triangles but something else
            trailing = len(payload) - HEAD - TRIANGLE.itemsize * announced
            notes.add(f"{trailing:,} bytes stand behind the triangles that it announces: they are left out")
            return announced
    if capacity:
        notes.add(f"it announces {announced:,} triangles and holds {capacity:,}: all of these are taken")
    return capacity


def _colors(head: bytes, attribute: np.ndarray) -> np.ndarray | None:
    """Colours (T, 4) in the two ways that are in use for the 16 bits of a triangle, or None.

    Materialise Magics has the object's colour as `COLOR=` and four bytes in the head; bits 0 to 4 of a triangle are
    red, 5 to 9 green, 10 to 14 blue, and bit 15 says that the object's colour holds instead. VisCAM and SolidView have
    bits 0 to 4 for blue, 5 to 9 for green, 10 to 14 for red, and bit 15 says that these are a colour.
    """
    low, middle, high = (((attribute >> shift) & 31) / 31 for shift in (0, 5, 10))
    flag = (attribute >> 15).astype(bool)[:, None]
    place = head.find(b"COLOR=")
    if 0 <= place <= 80 - 10:
        of_object = np.frombuffer(head, np.uint8, 3, place + 6) / 255
        own = np.stack([low, middle, high], axis=1)
        rgb = np.where(flag | (not attribute.any()), of_object, own)  # 0 in all of them: nobody wrote colours there
    elif flag.any():
        rgb = np.where(flag, np.stack([high, middle, low], axis=1), PLAIN.color[:3])
    else:
        return None
    return np.concatenate([rgb, np.ones((len(rgb), 1))], axis=1).astype(np.float32)


def _read_ascii(payload: bytes, limits: Limits, notes: Notes) -> Mesh:
    text = payload.removeprefix(b"\xef\xbb\xbf")
    if payload.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = payload.decode("utf-16", "replace").encode("ascii", "replace")
    text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    body = NAME.sub(b"", text)
    facets = len(FACET.findall(body))
    check_announced(facets, limits)
    matches = VERTEX.findall(body)
    if not matches:
        raise AssetError("the file holds no faces; export the mesh again.")
    if len(matches) != 3 * facets:
        raise AssetError(
            f"the file has {facets:,} facets with {len(matches):,} corners, which is not three each; "
            "it is cut off or damaged: copy or export it again."
        )
    corners = parse_numbers([word for corner in matches for word in corner], "STL").reshape(-1, 3, 3)
    if b"endsolid" not in text[-2048:].lower():
        notes.add("the file has no endsolid: what may have stood behind its last facet is lost")
    return _mesh(corners, None)


def _mesh(corners: np.ndarray, colors: np.ndarray | None) -> Mesh:
    """The mesh of triangles (T, 3, 3) with their colours (T, 4)."""
    faces = np.arange(3 * len(corners)).reshape(-1, 3)
    of_corner = None if colors is None else np.repeat(colors[:, None], 3, axis=1)
    return Mesh(corners.reshape(-1, 3), faces, (PLAIN if colors is None else WHITE,), None, None, of_corner)
