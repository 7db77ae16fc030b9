"""Accessors by the specification (glTF 2.0, sections 3.6.2 and 3.11), in bytes that are laid out by hand."""

import base64
import json
import struct

import numpy as np
import pytest

from fieldforge.readers.file_store import AssetError
from fieldforge.readers.gltf.accessor import count_of, normalise, read_numbers
from fieldforge.readers.gltf.document import Document


def document(data: bytes, accessor: dict, views: list[dict]) -> Document:
    uri = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    scene = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": len(data), "uri": uri}],
        "bufferViews": [{"buffer": 0, **view} for view in views],
        "accessors": [accessor],
    }
    return Document(json.dumps(scene).encode())


def read(data: bytes, accessor: dict, views: list[dict], rows: list[int], width: int = 1) -> list:
    return read_numbers(document(data, accessor, views), 0, np.array(rows), (width,)).tolist()


def test_strides_and_offsets_are_followed():
    data = b"\0" * 4 + b"".join(struct.pack("<ffxxxx", n, -n) for n in range(3))
    accessor = {"componentType": 5126, "type": "VEC2", "count": 2, "byteOffset": 12, "bufferView": 0}
    views = [{"byteOffset": 4, "byteLength": 36, "byteStride": 12}]
    assert read(data, accessor, views, [0, 1, 1], 2) == [[1, -1], [2, -2], [2, -2]]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (np.uint8, [0, 51, 255], [0, 0.2, 1]),
        (np.int8, [-128, -127, 127], [-1, -1, 1]),
        (np.uint16, [0, 65535], [0, 1]),
        (np.int16, [-32768, 32767], [-1, 1]),
        (np.float32, [0.5, 7.0], [0.5, 7.0]),
    ],
)
def test_normalised_numbers_end_at_one(kind: type, values: list, expected: list):
    np.testing.assert_allclose(normalise(np.array(values, kind)), expected)


def test_sparse_elements_stand_in_for_those_beneath():
    data = struct.pack("<4B", 10, 20, 30, 40) + struct.pack("<2H", 1, 3) + struct.pack("<2B", 21, 41)
    views = [{"byteLength": 4}, {"byteOffset": 4, "byteLength": 4}, {"byteOffset": 8, "byteLength": 2}]
    sparse = {"count": 2, "indices": {"bufferView": 1, "componentType": 5123}, "values": {"bufferView": 2}}
    accessor = {"componentType": 5121, "type": "SCALAR", "count": 4, "sparse": sparse}
    assert read(data, {**accessor, "bufferView": 0}, views, [0, 1, 2, 3]) == [[10], [21], [30], [41]]
    assert read(data, accessor, views, [3, 2, 1]) == [[41], [0], [21]]  # without a view all others are zero


@pytest.mark.parametrize(
    ("change", "rows", "sentence"),
    [
        ({}, [0, 4], "refers to element 4 of accessors"),
        ({"type": "VEC3"}, [0], "of the type 'VEC3'"),
        ({"componentType": 5124}, [0], "unknown kind 5124"),
        ({"count": 5}, [0], "reaches beyond bufferViews"),
    ],
)
def test_what_does_not_fit_is_said(change: dict, rows: list[int], sentence: str):
    accessor = {"componentType": 5121, "type": "SCALAR", "count": 4, "bufferView": 0, **change}
    with pytest.raises(AssetError, match=sentence):
        read(b"\1\2\3\4", accessor, [{"byteLength": 4}], rows)


def test_the_count_is_what_the_accessor_says():
    assert count_of(document(b"\0", {"count": 7}, []), 0) == 7
