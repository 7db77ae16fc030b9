"""Binary glTF 2.0 of a mesh with colours or a texture: one node, one primitive, one matt material."""

import json
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldforge.geometry.color import srgb_to_linear
from fieldforge.geometry.colored_mesh import ROUGHNESS, ColoredMesh, is_closed
from fieldforge.geometry.textured_mesh import TexturedMesh

FLOAT, UINT16, UINT32 = 5126, 5123, 5125  # glTF 2.0, accessor.componentType
VERTEX_BUFFER, INDEX_BUFFER = 34962, 34963  # bufferView.target
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071  # of a sampler


@dataclass
class Buffer:
    """The binary chunk, with its views and accessors, as it grows."""

    data: bytes = b""
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    def view(self, data: bytes, **more: Any) -> int:
        """Number of a new view with these bytes."""
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **more})
        self.data += _padded(data, b"\0")
        return len(self.views) - 1

    def vectors(self, array: NDArray[np.floating], **more: Any) -> int:
        """Number of a new accessor of vectors (P, 2 or 3), stored in float32."""
        view = self.view(array.astype("<f4").tobytes(), target=VERTEX_BUFFER)
        return self._accessor(view, FLOAT, len(array), f"VEC{array.shape[1]}", **more)

    def indices(self, faces: NDArray[np.integer], points: int) -> int:
        """Number of a new accessor of faces (F, 3) between so many vertices."""
        few = points < 2**16 - 1  # 65535 itself is reserved
        view = self.view(faces.astype("<u2" if few else "<u4").tobytes(), target=INDEX_BUFFER)
        return self._accessor(view, UINT16 if few else UINT32, faces.size, "SCALAR")

    def _accessor(self, view: int, component: int, count: int, kind: str, **more: Any) -> int:
        self.accessors.append({"bufferView": view, "componentType": component, "count": count, "type": kind, **more})
        return len(self.accessors) - 1


def glb_bytes(mesh: ColoredMesh, name: str = "shape") -> bytes:
    """GLB file; node, mesh and material are called `name`. An empty mesh gives a valid file whose scene is empty.

    COLOR_0 is linear by the standard (section 3.7.2.1), and eight bits are too few for dark colours then: it is stored
    in float. A texture is a PNG inside, in sRGB. The material is seen from both sides only if the surface is open.
    """
    document: dict = {"asset": {"version": "2.0", "generator": "fieldforge"}, "scene": 0, "scenes": [{}]}
    if mesh.is_empty:
        return _container(document, b"")
    buffer = Buffer()
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": ROUGHNESS}
    if isinstance(mesh, TexturedMesh):
        primitive = _textured(mesh, buffer)
        surface = {"baseColorTexture": {"index": 0}, **surface}
        document |= _texture(mesh, buffer, name)
    else:
        primitive = _colored(mesh, buffer)
    material = {"name": name, "pbrMetallicRoughness": surface}
    document |= {
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"name": name, "primitives": [{**primitive, "material": 0}]}],
        "materials": [material if is_closed(mesh.faces) else {**material, "doubleSided": True}],
        "buffers": [{"byteLength": len(buffer.data)}],
        "bufferViews": buffer.views,
        "accessors": buffer.accessors,
    }
    return _container(document, buffer.data)


def _colored(mesh: ColoredMesh, buffer: Buffer) -> dict[str, Any]:
    """The primitive of a mesh with colours at its vertices."""
    shades = np.round(mesh.colors * 255) / 255  # as fine as the PLY's, and much better to compress
    attributes = {
        "POSITION": buffer.vectors(mesh.vertices, **_bounds(mesh.vertices)),
        "NORMAL": buffer.vectors(mesh.normals),
        "COLOR_0": buffer.vectors(srgb_to_linear(shades)),
    }
    return {"attributes": attributes, "indices": buffer.indices(mesh.faces, len(mesh.vertices))}


def _textured(mesh: TexturedMesh, buffer: Buffer) -> dict[str, Any]:
    """The primitive of a mesh with a texture: glTF has one texture coordinate a vertex, so that seams split them."""
    origin, uv, faces = mesh.split_at_seams()
    attributes = {
        "POSITION": buffer.vectors(mesh.vertices[origin], **_bounds(mesh.vertices)),
        "NORMAL": buffer.vectors(mesh.normals[origin]),
        "TEXCOORD_0": buffer.vectors(uv * [1, -1] + [0, 1]),  # v down
    }
    return {"attributes": attributes, "indices": buffer.indices(faces, len(origin))}


def _texture(mesh: TexturedMesh, buffer: Buffer, name: str) -> dict[str, Any]:
    """The document's parts of the texture."""
    edges = {"wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
    return {
        "images": [{"name": name, "mimeType": "image/png", "bufferView": buffer.view(mesh.png())}],
        "samplers": [{"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, **edges}],
        "textures": [{"sampler": 0, "source": 0}],
    }


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
