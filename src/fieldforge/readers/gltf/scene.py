"""The nodes of a scene and their transforms."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fieldforge.readers.file_store import AssetError
from fieldforge.readers.gltf.accessor import count_of, read_numbers
from fieldforge.readers.gltf.container import Json
from fieldforge.readers.gltf.document import Document, extension, numbers

MAX_SHARED = 20_000
"""How often nodes may be shown in all where some hang below several others."""

IDENTITY = (1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1)


@dataclass
class Scene:
    """The scene that a viewer opens: the default scene, else the first, else all nodes."""

    document: Document
    _worlds: dict[int, np.ndarray] = field(default_factory=dict)
    _parents: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index, node in enumerate(self.document.list("nodes")):
            for child in _children(node):
                self._parents.setdefault(child, index)

    def nodes(self) -> Iterator[tuple[Json, np.ndarray]]:
        """Nodes that are seen, with their place in the world (4, 4), parents first; shared ones once a parent.

        AssetError where a node hangs below itself, sharing multiplies without end, or a node stands nowhere finite.
        """
        count, visible = len(self.document.list("nodes")), 0
        for root in sorted(self._roots(), key=lambda index: index in self._parents):
            if root in self._worlds and root in self._parents:
                continue  # a writer that lists all nodes as roots
            waiting = [(root, np.eye(4), 1)]
            while waiting:
                index, above, depth = waiting.pop()
                node = self.document.item("nodes", index)
                visible += 1
                if depth > count:
                    raise AssetError(f"node {index} hangs below itself; export the scene again.")
                if visible > max(MAX_SHARED, count):
                    raise AssetError(f"its {count} nodes are shown more than {MAX_SHARED:,} times; export it again.")
                if (extension(node, "KHR_node_visibility") or {}).get("visible") is False:
                    continue
                self._worlds[index] = world = above @ local_matrix(node)
                if not np.isfinite(world).all():
                    raise AssetError(f"node {index} stands at no finite place; export the scene again.")
                yield node, world
                waiting.extend((child, world, depth + 1) for child in reversed(_children(node)))

    def _roots(self) -> list[Any]:
        if self.document.list("scenes"):
            listed = _indices(self.document.item("scenes", self.document.json.get("scene", 0)), "nodes")
            return list(dict.fromkeys(listed))
        count = len(self.document.list("nodes"))
        roots = [index for index in range(count) if index not in self._parents]
        if count and not roots:
            raise AssetError("every node of the glTF hangs below another one, in a circle; export the scene again.")
        return roots

    def world(self, index: int) -> np.ndarray:
        """Place (4, 4) of any node, whether it is seen or not."""
        path: list[int] = []
        at: int | None = index
        while at is not None and at not in self._worlds:
            if len(path) > len(self._parents):
                raise AssetError(f"node {index} hangs below itself; export the scene again.")
            path.append(at)
            at = self._parents.get(at)
        above = np.eye(4) if at is None else self._worlds[at]
        for step in reversed(path):
            above = self._worlds[step] = above @ local_matrix(self.document.item("nodes", step))
        return above


def local_matrix(node: Json) -> np.ndarray:
    """(4, 4) of a node within its parent."""
    if "matrix" in node:
        return numbers(node, "matrix", IDENTITY).reshape(4, 4).T
    matrix = np.eye(4)
    if "rotation" in node or "scale" in node:
        turn, scale = numbers(node, "rotation", (0.0, 0, 0, 1)), numbers(node, "scale", (1.0, 1, 1))
        matrix = placements(np.zeros((1, 3)), turn[None], scale[None])[0]
    matrix[:3, 3] = numbers(node, "translation", (0.0, 0, 0))
    return matrix


def instance_count(document: Document, node: Json) -> int:
    """The number of instances of a node's mesh. AssetError if the attributes of its instances do not agree."""
    attributes = _instances(node)
    if attributes is None:
        return 1
    counts = {count_of(document, index) for index in attributes.values()}
    if len(counts) > 1:
        raise AssetError(f"the instances of a node differ in number ({sorted(counts)}); export the scene again.")
    return counts.pop() if counts else 1


def instance_matrices(document: Document, node: Json) -> np.ndarray:
    """(I, 4, 4) of the instances of a node's mesh within the node."""
    attributes = _instances(node)
    if attributes is None:
        return np.eye(4)[None]
    rows = np.arange(instance_count(document, node))

    def values(name: str, width: int, default: tuple[float, ...]) -> np.ndarray:
        if name not in attributes:
            return np.tile(np.array(default), (len(rows), 1))
        return read_numbers(document, attributes[name], rows, (width,))

    return placements(
        values("TRANSLATION", 3, (0.0, 0, 0)), values("ROTATION", 4, (0.0, 0, 0, 1)), values("SCALE", 3, (1.0, 1, 1))
    )


def placements(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Matrices (I, 4, 4) of translations (I, 3), quaternions x y z w (I, 4) of any length, and scales (I, 3)."""
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    turned = np.where(length > 0, rotation / np.where(length > 0, length, 1), [0.0, 0, 0, 1])
    x, y, z, w = turned.T
    matrix = np.zeros((len(rotation), 4, 4))
    matrix[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=1)
    matrix[:, 1, :3] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=1)
    matrix[:, 2, :3] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=1)
    matrix[:, :3, :3] *= scale[:, None, :]
    matrix[:, :3, 3] = translation
    matrix[:, 3, 3] = 1
    return matrix


def _instances(node: Json) -> Json | None:
    instancing = extension(node, "EXT_mesh_gpu_instancing")
    attributes = None if instancing is None else instancing.get("attributes")
    return attributes if isinstance(attributes, dict) else None


def _children(node: Any) -> list[int]:
    return _indices(node, "children") if isinstance(node, dict) else []


def _indices(item: Json, key: str) -> list[int]:
    indexes = item.get(key, [])
    if not isinstance(indexes, list) or not all(isinstance(index, int) for index in indexes):
        raise AssetError(f"the glTF cannot be read ({key} is no list of indices); export it again.")
    return indexes
