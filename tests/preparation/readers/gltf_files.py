"""glTF files written by hand: a box of 2 × 1 × 3 with a colour on each side, and whatever a test changes of it."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tests.preparation.make import LIMITS, png

from fieldforge.geometry.color import srgb_to_linear
from fieldforge.geometry.mesh import Mesh
from fieldforge.readers.file_store import FolderStore, Notes
from fieldforge.readers.load import load_mesh

COMPONENT_TYPES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}

SIDES = {
    "+x": (220, 30, 30),
    "-x": (30, 200, 40),
    "+y": (40, 60, 220),
    "-y": (230, 220, 40),
    "+z": (200, 40, 200),
    "-z": (30, 200, 210),
}
HALF = np.array([1.0, 0.5, 1.5])
BOX = [(-HALF).tolist(), HALF.tolist()]

PALETTE = np.repeat(np.array([list(SIDES.values())], np.uint8), 8, axis=1).repeat(4, axis=0)  # (4, 48, 3)


def box_corners() -> tuple[np.ndarray, np.ndarray]:
    """Positions (24, 3) float32, four a side in the order of SIDES, and indices (36,) uint16."""
    positions, indices = [], []
    for number, name in enumerate(SIDES):
        axis, sign = "xyz".index(name[1]), 1 if name[0] == "+" else -1
        normal = np.eye(3)[axis] * sign
        right = np.roll(np.abs(normal), 1)
        up = np.cross(normal, right)
        positions += [(normal + a * right + b * up) * HALF for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        indices += [number * 4 + k for k in (0, 1, 2, 0, 2, 3)]
    return np.array(positions, np.float32), np.array(indices, np.uint16)


POSITIONS, INDICES = box_corners()
LINEAR = np.repeat(srgb_to_linear(np.array(list(SIDES.values())) / 255), 4, axis=0).astype(np.float32)  # (24, 3)
UV = np.repeat([[(side + 0.5) / 6, 0.5] for side in range(6)], 4, axis=0).astype(np.float32)  # (24, 2)


@dataclass
class Gltf:
    """A glTF under construction; `add` and the like give the index of what they add."""

    json: dict[str, Any] = field(default_factory=lambda: {"asset": {"version": "2.0"}})
    binary: bytearray = field(default_factory=bytearray)

    def add(self, kind: str, item: dict[str, Any]) -> int:
        self.json.setdefault(kind, []).append(item)
        return len(self.json[kind]) - 1

    def view(self, payload: bytes, **extra: Any) -> int:
        self.binary += bytes(-len(self.binary) % 4)
        start = len(self.binary)
        self.binary += payload
        return self.add("bufferViews", {"buffer": 0, "byteOffset": start, "byteLength": len(payload), **extra})

    def accessor(self, values: np.ndarray, **extra: Any) -> int:
        """Of an array (N,) or (N, width); `extra` as in the file (normalized, sparse, …)."""
        rows = values if values.ndim > 1 else values[:, None]
        kind = f"{values.dtype.kind}{values.dtype.itemsize}"
        item = {"componentType": COMPONENT_TYPES[kind], "count": len(rows), "type": TYPES[rows.shape[1]], **extra}
        if "bufferView" not in extra:
            item["bufferView"] = self.view(rows.tobytes())
        return self.add("accessors", {key: value for key, value in item.items() if value is not None})

    def primitive(self, positions: np.ndarray = POSITIONS, indices: np.ndarray | None = INDICES, **extra: Any) -> dict:
        """A primitive; `extra` holds attributes by their names in capitals (arrays or indices), and other keys."""
        attributes = {"POSITION": self.accessor(positions)}
        for name in [name for name in extra if name.isupper()]:
            value = extra.pop(name)
            attributes[name] = self.accessor(value) if isinstance(value, np.ndarray) else value
        result = {"attributes": attributes, **extra}
        if indices is not None:
            result["indices"] = self.accessor(indices)
        return result

    def mesh(self, *primitives: dict[str, Any], **extra: Any) -> int:
        return self.add("meshes", {"primitives": list(primitives), **extra})

    def node(self, mesh: int | None = None, **extra: Any) -> int:
        return self.add("nodes", {**({} if mesh is None else {"mesh": mesh}), **extra})

    def scene(self, *nodes: int) -> "Gltf":
        self.add("scenes", {"nodes": list(nodes)})
        return self

    def texture(self, pixels: np.ndarray = PALETTE, **extra: Any) -> int:
        """A texture whose picture lies in the buffer."""
        return self.add("textures", {"source": self.add("images", {"bufferView": self.view(png(pixels))}), **extra})

    def text(self, **buffer: Any) -> bytes:
        buffers = [{"byteLength": len(self.binary), **buffer}] if self.binary else []
        return json.dumps({"buffers": buffers, **self.json}).encode()

    def glb(self) -> bytes:
        text = self.text()
        return pack_glb([(0x4E4F534A, text + b" " * (-len(text) % 4)), (0x004E4942, bytes(self.binary))])

    def read(self, folder: Path, notes: Notes | None = None) -> Mesh:
        return read(folder, self.glb(), notes)


def pack_glb(chunks: list[tuple[int, bytes]], version: int = 2) -> bytes:
    body = b"".join(struct.pack("<II", len(payload), kind) + payload for kind, payload in chunks)
    return struct.pack("<4sII", b"glTF", version, 12 + len(body)) + body


def read(folder: Path, payload: bytes, notes: Notes | None = None, name: str = "a.glb") -> Mesh:
    (folder / name).write_bytes(payload)
    return load_mesh(FolderStore(folder, LIMITS.max_file_bytes), name, LIMITS, notes or Notes([]))


def box_scene(material: dict[str, Any] | None = None, **primitive: Any) -> Gltf:
    """One node with the box; `primitive` as in Gltf.primitive."""
    gltf = Gltf()
    if material is not None:
        primitive["material"] = gltf.add("materials", material)
    return gltf.scene(gltf.node(gltf.mesh(gltf.primitive(**primitive))))


def palette_scene(info: dict[str, Any] | None = None, texture: dict[str, Any] | None = None, **primitive: Any) -> Gltf:
    """The box with the palette as its base colour texture; `info` and `texture` are added to what refers to it."""
    gltf = Gltf()
    index = gltf.texture(**(texture or {}))
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": index, **(info or {})}}}
    primitive = {"TEXCOORD_0": UV, **primitive, "material": gltf.add("materials", material)}
    return gltf.scene(gltf.node(gltf.mesh(gltf.primitive(**primitive))))


def side_colors(mesh: Mesh) -> dict[str, tuple[int, ...]]:
    """Colour and alpha 0…255 at the middle of each side, by its normal; all faces of a side agree."""
    colors = np.round(mesh.color_at(np.arange(len(mesh.faces)), np.full((len(mesh.faces), 3), 1 / 3)) * 255)
    result: dict[str, tuple[int, ...]] = {}
    for normal, color in zip(mesh.face_normals, colors.astype(int).tolist(), strict=True):
        axis = int(np.abs(normal).argmax())
        name = ("+" if normal[axis] > 0 else "-") + "xyz"[axis]
        assert result.setdefault(name, tuple(color)) == tuple(color)
    return result


OPAQUE_SIDES = {name: (*color, 255) for name, color in SIDES.items()}


def faces_outward(mesh: Mesh) -> bool:
    """Whether all faces of one box turn away from its middle."""
    middle = mesh.bounds.mean(axis=0)
    return bool((np.einsum("fd,fd->f", mesh.face_normals, mesh.triangles.mean(axis=1) - middle) > 0).all())
