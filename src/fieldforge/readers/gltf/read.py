"""A glTF → one mesh in world coordinates."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fieldforge.geometry.mesh import Mesh, concatenate
from fieldforge.readers.file_store import AssetError, FileStore, Notes
from fieldforge.readers.gltf.container import Json
from fieldforge.readers.gltf.document import Document, damage_named
from fieldforge.readers.gltf.material import Look, Materials
from fieldforge.readers.gltf.primitive import Primitive, attributes_of, triangle_count
from fieldforge.readers.gltf.scene import Scene, instance_count, instance_matrices
from fieldforge.readers.gltf.skin import joint_matrices, pose
from fieldforge.readers.limits import Limits, check_announced


def read_gltf(store: FileStore, name: str, limits: Limits, notes: Notes) -> Mesh:
    """Mesh of what the scene shows: parts at their places, posed and morphed as it opens.

    AssetError: why it cannot be used. What is lost of its appearance is noted.
    """
    with damage_named():
        document = Document(store.read(name), store, name.rpartition("/")[0])
        scene = Scene(document)
        instances = list(_instances(document, scene))
        check_announced(announced_triangles(document, instances), limits)
        reader = _Reader(document, scene, notes)
        parts = [part for node, world, mesh in instances for part in reader.parts(node, world, mesh)]
        if not parts:
            kind = "only points and lines, no faces" if reader.left_out else "no faces"
            raise AssetError(f"the file holds {kind}; export the mesh again.")
        if reader.left_out:
            notes.add("the points and lines of the file are left out")
        return concatenate(parts)


def announced_triangles(document: Document, instances: list[tuple[Json, np.ndarray, Any]]) -> int:
    """The number of triangles that nodes declare, with their repetitions; no vertex is read."""
    of_mesh: dict[Any, int] = {}
    total = 0
    for node, _, mesh in instances:
        if mesh not in of_mesh:
            of_mesh[mesh] = sum(triangle_count(document, part) for part in _primitives(document, mesh))
        total += of_mesh[mesh] * instance_count(document, node)
    return total


def _instances(document: Document, scene: Scene) -> Iterator[tuple[Json, np.ndarray, Any]]:
    """Nodes with their place in the world (4, 4) and the index of the mesh that they draw."""
    if not document.list("nodes"):  # a library of meshes that stand nowhere
        for index in range(len(document.list("meshes"))):
            yield {}, np.eye(4), index
    for node, world in scene.nodes():
        if "mesh" in node:
            yield node, world, node["mesh"]


def _primitives(document: Document, mesh: Any) -> list[Json]:
    primitives = document.item("meshes", mesh).get("primitives", [])
    return [part for part in primitives if isinstance(part, dict)]


class _Reader:
    """Reads the parts of nodes. `left_out`: whether points or lines were met."""

    def __init__(self, document: Document, scene: Scene, notes: Notes) -> None:
        self._document, self._scene, self._notes = document, scene, notes
        self._materials = Materials(document, notes)
        self._primitives: dict[Any, Primitive] = {}
        self.left_out = False

    def parts(self, node: Json, world: np.ndarray, mesh: Any) -> list[Mesh]:
        """Meshes (one a material) of a node in world coordinates."""
        weights = node.get("weights") or self._document.item("meshes", mesh).get("weights") or []
        parts = []
        for number, json in enumerate(_primitives(self._document, mesh)):
            if triangle_count(self._document, json):
                key = (mesh, number, *(float(weight) for weight in weights))
                if key not in self._primitives:
                    self._primitives[key] = Primitive(self._document, json, key[2:])
                parts.append(self._part(node, world, self._primitives[key]))
            elif json.get("mode") in (0, 1, 2, 3):
                self.left_out = True
            elif "POSITION" not in attributes_of(json):
                self._notes.add("a part of the mesh has no positions and is left out")
        return parts

    def _part(self, node: Json, world: np.ndarray, primitive: Primitive) -> Mesh:
        vertices, mirrored = self._placed(node, world, primitive)  # (I, P, 3), (I, F)
        copies, count = vertices.shape[:2]
        local = np.tile(primitive.faces, (copies, 1, 1))  # (I, F, 3)
        local = np.where(mirrored[..., None], local[..., ::-1], local)  # a mirrored part would be inside out
        faces = (local + np.arange(copies)[:, None, None] * count).reshape(-1, 3)
        corners = local.reshape(-1, 3)
        colors = self._colors(primitive)
        look = self._materials.look(primitive.json.get("material"), colors is not None)
        if colors is not None and not look.colored:
            colors[:, :3] = 1
        uv = self._coordinates(primitive, look)
        return Mesh(
            vertices.reshape(-1, 3),
            faces,
            (look.material,),
            corner_uv=None if uv is None else uv[corners],
            corner_colors=None if colors is None else colors[corners],
        )

    def _placed(self, node: Json, world: np.ndarray, primitive: Primitive) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (I, P, 3) of I copies in the world, and whether the faces (I, F) of each are mirrored."""
        positions = primitive.attribute("POSITION", (3,))
        assert positions is not None, "a part without positions announces no triangles"
        skin = self._document.item("skins", node["skin"]) if "skin" in node else None
        if skin is not None and "JOINTS_0" in attributes_of(primitive.json):
            if instance_count(self._document, node) > 1:
                self._notes.add("instances of a part with a skin are left out")
            moved, flipped = pose(primitive, positions, joint_matrices(self._document, self._scene, skin))
            return moved[None], flipped[primitive.faces].sum(axis=1)[None] > 1
        matrices = world @ instance_matrices(self._document, node)  # (I, 4, 4)
        moved = np.einsum("pd,ied->ipe", positions, matrices[:, :3, :3]) + matrices[:, None, :3, 3]
        flipped = np.linalg.det(matrices[:, :3, :3]) < 0
        return moved, np.tile(flipped[:, None], (1, len(primitive.faces)))

    def _colors(self, primitive: Primitive) -> np.ndarray | None:
        """Linear vertex colours (P, 4) float32 in 0…1."""
        colors = primitive.attribute("COLOR_0", (3, 4), fraction=True)
        if colors is None:
            return None
        if not np.isfinite(colors).all():
            self._notes.add("some vertex colours are not finite: they count as 1")
        colors = np.clip(np.where(np.isfinite(colors), colors, 1), 0, 1).astype(np.float32)
        return colors if colors.shape[1] == 4 else np.pad(colors, ((0, 0), (0, 1)), constant_values=1)

    def _coordinates(self, primitive: Primitive, look: Look) -> np.ndarray | None:
        """Coordinates (P, 2) float32, v up, of the texture of a look."""
        if look.texcoord is None:
            return None
        uv = primitive.attribute(f"TEXCOORD_{look.texcoord}", (2,))
        if uv is None:
            self._notes.add(f"a part lacks the coordinates TEXCOORD_{look.texcoord} of its texture: it has one colour")
            return None
        if not np.isfinite(uv).all():
            self._notes.add("some texture coordinates are not finite: their faces have one colour")
        uv = uv @ look.uv[:, :2].T + look.uv[:, 2]
        return np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1).astype(np.float32)
