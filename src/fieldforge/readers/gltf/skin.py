"""Skins in their default pose: vertex positions from the joints of the scene."""

import numpy as np

from fieldforge.readers.file_store import AssetError
from fieldforge.readers.gltf.accessor import read_numbers
from fieldforge.readers.gltf.container import Json
from fieldforge.readers.gltf.document import Document
from fieldforge.readers.gltf.primitive import Primitive
from fieldforge.readers.gltf.scene import Scene

BLOCK = 2**16
"""Vertices that are moved at once: each needs a matrix."""


def joint_matrices(document: Document, scene: Scene, skin: Json) -> np.ndarray:
    """(J, 4, 4) from the space in which the mesh was bound to the world."""
    joints = skin.get("joints", [])
    bind = np.tile(np.eye(4), (len(joints), 1, 1))
    if "inverseBindMatrices" in skin:
        flat = read_numbers(document, skin["inverseBindMatrices"], np.arange(len(joints)), (16,))
        bind = flat.reshape(-1, 4, 4).swapaxes(1, 2)
    worlds = [scene.world(joint) for joint in joints]
    matrices = np.stack(worlds) @ bind if worlds else bind
    if not np.isfinite(matrices).all():
        raise AssetError("a joint of its skin stands at no finite place; export the scene again.")
    return matrices


def pose(primitive: Primitive, positions: np.ndarray, matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (P, 3) in the world and whether each vertex is mirrored (P,) bool, under matrices (J, 4, 4).

    AssetError if a vertex hangs on a joint that is not there, or has no weights.
    """
    joints = _sets(primitive, "JOINTS").astype(np.int64)  # (P, K)
    weights = np.nan_to_num(_sets(primitive, "WEIGHTS"), posinf=0, neginf=0)  # (P, K)
    if weights.shape != joints.shape:
        raise AssetError("a part of the mesh has joints without weights; export the mesh again.")
    sums = weights.sum(axis=1, keepdims=True)
    first = np.eye(1, weights.shape[1])  # what weighs nothing hangs on its first joint, as in viewers
    weights = np.where(sums > 0, weights / np.where(sums > 0, sums, 1), first)
    joints = np.where(weights != 0, joints, 0)  # writers leave anything there
    if len(matrices) == 0 or joints.min(initial=0) < 0 or joints.max(initial=0) >= len(matrices):
        raise AssetError(f"a vertex hangs on a joint that its skin of {len(matrices)} lacks; export the mesh again.")
    moved, mirrored = np.empty_like(positions), np.empty(len(positions), bool)
    for start in range(0, len(positions), BLOCK):
        block = slice(start, start + BLOCK)
        blend = np.einsum("pk,pkij->pij", weights[block], matrices[joints[block]][..., :3, :])  # (P, 3, 4)
        moved[block] = np.einsum("pij,pj->pi", blend[..., :3], positions[block]) + blend[..., 3]
        mirrored[block] = np.linalg.det(blend[..., :3]) < 0
    return moved, mirrored


def _sets(primitive: Primitive, name: str) -> np.ndarray:
    """(P, 4 K) of the attributes `name`_0, `name`_1, … of a primitive."""
    sets: list[np.ndarray] = []
    while (values := primitive.attribute(f"{name}_{len(sets)}", (4,))) is not None:
        sets.append(values)
    return np.concatenate(sets, axis=1) if sets else np.empty((0, 0))
