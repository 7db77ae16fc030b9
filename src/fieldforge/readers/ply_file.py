"""The container of PLY (Greg Turk's polygon format): header and elements, ASCII and both binary orders.

trimesh cannot read lists of mixed lengths in binary files and trusts the header's counts; plyfile reads all of it, but
is under the GPL, which this project's licence excludes.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fieldforge.readers.file_store import AssetError
from fieldforge.readers.numbers import parse_numbers

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "int64": "i8", "uint64": "u8",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
EXPORT = "export the mesh again."


@dataclass(frozen=True)
class Property:
    """`kind` and, of a list, `count_kind` are numpy's names of types."""

    name: str
    kind: str
    count_kind: str | None = None


@dataclass(frozen=True)
class Element:
    """`count` rows of the same properties."""

    name: str
    count: int
    properties: tuple[Property, ...]


@dataclass(frozen=True)
class Header:
    """Byte order ("" for ASCII), comments, elements in file order, and the byte at which the first one begins."""

    order: str
    comments: tuple[str, ...]
    elements: tuple[Element, ...]
    end: int

    def count(self, element: str) -> int:
        return next((each.count for each in self.elements if each.name == element), 0)


@dataclass(frozen=True)
class Column:
    """One property of all rows: values (N,); of a list those of all rows in turn, counts[n] of row n."""

    kind: str
    values: np.ndarray
    counts: np.ndarray | None = None


Columns = dict[str, Column]


def read_header(payload: bytes) -> Header:
    """Header of a PLY file. AssetError naming the line that cannot be read."""
    start = 3 if payload.startswith(b"\xef\xbb\xbf") else 0
    if payload[start : start + 3].lower() != b"ply":
        raise AssetError(f"the PLY file cannot be read: it does not begin with ply; {EXPORT}")
    last_line = re.compile(rb"[\r\n][ \t]*end_header(?=[ \t]*[\r\n]|[ \t]*$)").search(payload, start)
    if last_line is None:
        raise AssetError(f"the PLY file cannot be read: its header has no end; {EXPORT}")
    end, after = last_line.span()
    body = after + _line_end(payload, after)
    order, comments, elements = None, [], list[tuple[str, int, list[Property]]]()
    for line in payload[start + 3 : end].decode("utf-8", "replace").splitlines():
        keyword, *words = line.split() or [""]
        try:
            if keyword == "format":
                order = FORMATS[words[0]]
            elif keyword in ("comment", "obj_info"):
                comments.append(line.strip()[len(keyword) :].strip())
            elif keyword == "element":
                elements.append((words[0].lower(), _count(words[1]), []))
            elif keyword == "property":
                elements[-1][2].append(_property(words))
            elif keyword:
                raise ValueError
        except (KeyError, IndexError, ValueError):
            raise AssetError(f"the PLY file cannot be read: its header holds '{line.strip()[:80]}'; {EXPORT}") from None
    if order is None:
        raise AssetError(f"the PLY file cannot be read: its header names no format; {EXPORT}")
    whole = tuple(Element(name, count, tuple(properties)) for name, count, properties in elements)
    return Header(order, tuple(comments), whole, body)


def _line_end(payload: bytes, place: int) -> int:
    """Length of the line's end at `place`, with the blanks that may stand before it."""
    blanks = len(payload[place : place + 64]) - len(payload[place : place + 64].lstrip(b" \t"))
    ending = payload[place + blanks : place + blanks + 2]
    return blanks + (2 if ending == b"\r\n" else 1)


def _count(word: str) -> int:
    count = int(word)
    if count < 0:
        raise ValueError
    return count


def _property(words: list[str]) -> Property:
    if words[0] == "list":
        count_kind = TYPES[words[1]]
        if count_kind[0] == "f":
            raise ValueError
        return Property(words[3].lower(), TYPES[words[2]], count_kind)
    return Property(words[1].lower(), TYPES[words[0]])


def read_elements(payload: bytes, header: Header) -> tuple[dict[str, Columns], int]:
    """Columns of each element by its name and its properties' names, and how many bytes or words are left over.

    AssetError: the file ends too soon, or holds something else than numbers.
    """
    if header.order:
        data: np.ndarray = np.frombuffer(payload, np.uint8, offset=min(header.end, len(payload)))
    else:
        data = parse_numbers(payload[header.end :].split(), "PLY")
    place = 0
    elements: dict[str, Columns] = {}
    for element in header.elements:
        columns, place = _read_element(data, place, element, header.order)
        elements.setdefault(element.name, columns)
    return elements, len(data) - place


def _read_element(data: np.ndarray, place: int, element: Element, order: str) -> tuple[Columns, int]:
    """Columns of one element that begins at `place` of bytes (binary) or words (ASCII), and where it ends."""
    if not element.count or not element.properties:
        return {each.name: _empty(each) for each in element.properties}, place
    lengths = _row_lengths(data, place, element, order)  # (N, lists)
    size = np.array([_size(each, order) for each in element.properties])
    sizes = _row_sizes(element, lengths, order)  # (N,)
    starts = place + np.cumsum(sizes) - sizes
    columns: Columns = {}
    number = 0
    for each, item in zip(element.properties, size.tolist(), strict=True):
        if each.count_kind is None:
            columns[each.name] = Column(each.kind, _values(data, starts, each.kind, order))
            starts = starts + item
            continue
        counts = lengths[:, number]
        number += 1
        starts = starts + _size_of(each.count_kind, order)
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.repeat(starts, counts) + inside * item
        columns[each.name] = Column(each.kind, _values(data, places, each.kind, order), counts)
        starts = starts + counts * item
    return columns, place + int(sizes.sum())


def _row_lengths(data: np.ndarray, place: int, element: Element, order: str) -> np.ndarray:
    """Lengths (N, lists) of the lists in each row. AssetError if the data end before the rows do."""
    lists = [each for each in element.properties if each.count_kind is not None]
    fixed = int(_row_sizes(element, np.zeros((1, len(lists)), np.int64), order)[0])
    if place + fixed * element.count > len(data):
        raise _too_short(element)
    if not lists:
        return np.zeros((element.count, 0), np.int64)
    same = _first_lengths(data, place, element, order)
    sizes = _row_sizes(element, same[None], order)
    if place + int(sizes[0]) * element.count <= len(data):  # are all rows like the first one? mostly
        starts = place + int(sizes[0]) * np.arange(element.count)
        with np.errstate(invalid="ignore"):  # words that are no numbers
            values = np.stack(_count_values(data, starts, element, order, same), axis=1)
        if (values == same).all():
            return values
    return _walked_lengths(data, place, element, order)


def _first_lengths(data: np.ndarray, place: int, element: Element, order: str) -> np.ndarray:
    one = Element(element.name, 1, element.properties)
    return _walked_lengths(data, place, one, order)[0]


def _count_values(
    data: np.ndarray, starts: np.ndarray, element: Element, order: str, lengths: np.ndarray
) -> list[np.ndarray]:
    """The counts of each list, if all rows had lists of these lengths."""
    columns, number, offset = [], 0, 0
    for each in element.properties:
        if each.count_kind is None:
            offset += _size(each, order)
            continue
        columns.append(_values(data, starts + offset, each.count_kind, order).astype(np.int64))
        offset += _size_of(each.count_kind, order) + int(lengths[number]) * _size(each, order)
        number += 1
    return columns


def _walked_lengths(data: np.ndarray, place: int, element: Element, order: str) -> np.ndarray:
    """`_row_lengths` row by row: each list begins at the end of the previous one."""
    steps = [
        (each.count_kind, 0 if each.count_kind is None else _size_of(each.count_kind, order), _size(each, order))
        for each in element.properties
    ]
    raw, end = memoryview(data.data), len(data)
    endian: Literal["little", "big"] = "little" if order == "<" else "big"
    rows = []
    for _ in range(element.count):
        for kind, width, item in steps:
            if kind is None:
                place += item
                continue
            if place + width > end:
                raise _too_short(element)
            if order:
                length = int.from_bytes(raw[place : place + width], endian, signed=kind[0] == "i")
            else:
                length = int(data[place]) if np.isfinite(data[place]) else -1
            place += width + length * item
            if length < 0 or place > end:
                raise _too_short(element)
            rows.append(length)
    if place > end:
        raise _too_short(element)
    return np.array(rows, np.int64).reshape(element.count, -1)


def _row_sizes(element: Element, lengths: np.ndarray, order: str) -> np.ndarray:
    """(N,) bytes or words of each row."""
    fixed = sum(_size_of(each.count_kind or each.kind, order) for each in element.properties)
    items = [_size(each, order) for each in element.properties if each.count_kind is not None]
    return fixed + lengths @ np.array(items, np.int64) if items else np.full(len(lengths), fixed)


def _values(data: np.ndarray, places: np.ndarray, kind: str, order: str) -> np.ndarray:
    """The numbers that begin at these places, in the file's type (ASCII: float64)."""
    if not order:
        return data[places]
    size = np.dtype(kind).itemsize
    return np.ascontiguousarray(data[places[:, None] + np.arange(size)]).view(order + kind)[:, 0]


def _size(each: Property, order: str) -> int:
    return _size_of(each.kind, order)


def _size_of(kind: str, order: str) -> int:
    return np.dtype(kind).itemsize if order else 1


def _empty(each: Property) -> Column:
    counts = None if each.count_kind is None else np.zeros(0, np.int64)
    return Column(each.kind, np.zeros(0, each.kind), counts)


def _too_short(element: Element) -> AssetError:
    return AssetError(
        f"the PLY file ends within its element '{element.name}', of which it announces {element.count:,}; "
        "it is cut off or its header is wrong: copy or export it again."
    )
