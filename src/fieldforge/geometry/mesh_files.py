"""Coloured meshes as files: GLB for viewers, PLY for tools."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from fieldforge.geometry.color import srgb_to_linear
from fieldforge.geometry.colored_mesh import ColoredMesh

FLOAT, UINT16, UINT32 = 5126, 5123, 5125  # glTF 2.0, accessor.componentType
EMPTY_PLY = b"""ply
format binary_little_endian 1.0
element vertex 0
property float x
property float y
property float z
element face 0
property list uchar int vertex_indices
end_header
"""
VERTEX_BUFFER, INDEX_BUFFER = 34962, 34963  # bufferView.target


def write_mesh(mesh: ColoredMesh, path: Path) -> None:
    """Write the mesh as .glb or .ply, by the name's ending; the file is complete or not there."""
    encode = {".glb": glb_bytes, ".ply": ply_bytes}[path.suffix]
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(encode(mesh))
    os.replace(partial, path)


def ply_bytes(mesh: ColoredMesh) -> bytes:
    """Binary PLY with normals and sRGB colours (uchar), in box units, y up."""
    if mesh.is_empty:
        return EMPTY_PLY
    colors = np.round(mesh.colors * 255).astype(np.uint8)
    exported = trimesh.Trimesh(
        mesh.vertices, mesh.faces, vertex_normals=mesh.normals, vertex_colors=colors, process=False, validate=False
    )
    return trimesh.exchange.ply.export_ply(exported, vertex_normal=True)


def glb_bytes(mesh: ColoredMesh) -> bytes:
    """Binary glTF 2.0 with one double-sided, matt primitive; box units, y up, front +z, as glTF has it.

    COLOR_0 is linear by the standard (section 3.7.2.1), and eight bits are too few for dark colours then: it is stored
    in float. An empty mesh gives a valid file whose scene is empty.
    """
    document: dict = {"asset": {"version": "2.0", "generator": "fieldforge"}, "scene": 0, "scenes": [{}]}
    if mesh.is_empty:
        return _container(document, b"")
    few = len(mesh.vertices) < 2**16 - 1  # 65535 itself is reserved
    shades = np.round(mesh.colors * 255) / 255  # as fine as the PLY's, and much better to compress
    arrays = [
        (mesh.vertices.astype("<f4"), "VEC3", FLOAT),
        (mesh.normals.astype("<f4"), "VEC3", FLOAT),
        (srgb_to_linear(shades).astype("<f4"), "VEC3", FLOAT),
        (mesh.faces.astype("<u2" if few else "<u4").reshape(-1), "SCALAR", UINT16 if few else UINT32),
    ]
    views, accessors, blob = [], [], b""
    for index, (array, kind, component) in enumerate(arrays):
        target = INDEX_BUFFER if kind == "SCALAR" else VERTEX_BUFFER
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": array.nbytes, "target": target})
        accessors.append({"bufferView": index, "componentType": component, "count": len(array), "type": kind})
        blob += _padded(array.tobytes(), b"\0")
    accessors[0] |= _bounds(mesh.vertices)
    attributes = {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}
    document |= {
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 3, "material": 0}]}],
        "materials": [{"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.8}}],
        "buffers": [{"byteLength": len(blob)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    return _container(document, blob)


def _bounds(vertices: NDArray[np.float32]) -> dict[str, list[float]]:
    return {"min": vertices.min(axis=0).tolist(), "max": vertices.max(axis=0).tolist()}


def _padded(data: bytes, filler: bytes) -> bytes:
    return data + filler * (-len(data) % 4)


def _container(document: dict, blob: bytes) -> bytes:
    """The GLB container (glTF 2.0, section 4.4): header, JSON chunk, binary chunk."""
    text = _padded(json.dumps(document, separators=(",", ":")).encode(), b" ")
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if blob:
        chunks += struct.pack("<I4s", len(blob), b"BIN\0") + blob
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
