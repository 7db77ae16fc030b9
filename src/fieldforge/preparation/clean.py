"""Cleaning of meshes: checks, removal of misleading faces, normalisation to the box."""

from dataclasses import dataclass

import numpy as np

from fieldforge.geometry.mesh import INVISIBLE, Mesh
from fieldforge.readers.file_store import AssetError

HALF_SIDE = 0.9
"""Assets reach from -0.9 to 0.9 along their longest side."""


@dataclass(frozen=True)
class NormalisedMesh:
    """A mesh in the box. (p - center) * scale maps the asset's own units into the box."""

    mesh: Mesh
    center: np.ndarray
    scale: float


def check_mesh(mesh: Mesh, max_triangles: int) -> None:
    """AssetError for an unusable mesh."""
    if len(mesh.faces) > max_triangles:
        raise AssetError(
            f"the mesh has {len(mesh.faces):,} triangles and the limit is {max_triangles:,}; "
            "simplify it or raise preparation.limits.max_triangles."
        )
    if len(mesh.faces) == 0:
        raise AssetError("the file holds no faces; export the mesh again.")
    broken = int((~np.isfinite(mesh.triangles)).any(axis=(1, 2)).sum())
    if broken:
        raise AssetError(
            f"{broken:,} of {len(mesh.faces):,} faces have NaN or infinite corners; export the mesh again."
        )


def normalise(mesh: Mesh, min_thickness: float) -> NormalisedMesh:
    """Centres the bounding box and scales its longest side to 2 * HALF_SIDE.

    AssetError for a mesh without size, or one whose thinnest side is below `min_thickness` of its longest.
    """
    low, high = mesh.bounds
    extent = high - low
    if not np.isfinite(extent).all():
        raise AssetError("its coordinates are too large to compute with; export the mesh in sensible units.")
    if not extent.max() > 0:
        raise AssetError("all points of the mesh coincide; export the mesh again.")
    if extent.min() < min_thickness * extent.max():
        raise AssetError(
            f"it is flat: its thickness is {extent.min() / extent.max():.2%} of its length, "
            f"below preparation.limits.min_thickness={min_thickness}."
        )
    center, scale = (low + high) / 2, 2 * HALF_SIDE / float(extent.max())
    return NormalisedMesh(mesh.with_vertices((mesh.vertices - center) * scale), center, scale)


def remove_invisible_faces(mesh: Mesh) -> Mesh:
    """Drops faces that are invisible under any texture."""
    mesh = mesh.select_faces(mesh.face_alpha() >= INVISIBLE)
    if len(mesh.faces) == 0:
        raise AssetError("all faces are transparent; check the opacity of its materials.")
    return mesh


def remove_misleading_faces(mesh: Mesh, weld: float = 1e-6, tiny: float = 1e-12) -> Mesh:
    """Drops degenerate and duplicate faces.

    Of faces on the same three corners, in any order, the first stays: otherwise double-sided faces would cancel out in
    the winding number. Corners closer than `weld` count as the same. Lengths are in the mesh's units.
    """
    corners, faces = np.unique(mesh.faces, return_inverse=True)
    cells = np.round(mesh.vertices[corners] / weld).astype(np.int64)
    as_rows = np.ascontiguousarray(cells).view([("", np.int64)] * 3).ravel()
    _, first, welded = np.unique(as_rows, return_index=True, return_inverse=True)
    faces = welded.reshape(-1)[faces.reshape(mesh.faces.shape)]  # (F, 3)
    mesh = Mesh(
        mesh.vertices[corners][first], faces, mesh.materials, mesh.face_material, mesh.corner_uv, mesh.corner_colors
    )
    mesh = mesh.select_faces(mesh.face_areas > tiny)
    if len(mesh.faces) == 0:
        raise AssetError("no face has an area; export the mesh again.")
    triples = np.sort(mesh.faces, axis=1)
    count = len(mesh.vertices)
    code = (triples[:, 0] * count + triples[:, 1]) * count + triples[:, 2]  # fits: count³ < 2⁶³
    _, first_face = np.unique(code, return_index=True)
    return mesh.select_faces(np.sort(first_face))
