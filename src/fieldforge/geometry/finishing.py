"""Finishes the mesh of a field for other programs: fewer faces, a baked texture, a size in metres."""

from dataclasses import replace

import torch

from fieldforge.geometry.colored_mesh import ColoredMesh, vertex_normals
from fieldforge.geometry.field_colors import ColorQuery, query_colors
from fieldforge.geometry.simplification import simplify
from fieldforge.geometry.textured_mesh import bake

CM = 0.01  # metres


def simplified(
    mesh: ColoredMesh, count: int, query_rgb: ColorQuery, device: torch.device | str = "cpu", keep_apart: bool = False
) -> ColoredMesh:
    """The mesh with at most `count` faces, colours of the field at its new vertices and new normals; see `simplify`."""
    if len(mesh.faces) <= count:
        return mesh
    vertices, faces = simplify(mesh.vertices, mesh.faces, count, keep_apart)
    return ColoredMesh(vertices, faces, query_colors(query_rgb, vertices, device), vertex_normals(vertices, faces))


def scaled(mesh: ColoredMesh, size_cm: float) -> ColoredMesh:
    """The mesh, with its box's longest side `size_cm` long; in metres."""
    longest = float((mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)).max())
    return replace(mesh, vertices=mesh.vertices * (CM * size_cm / longest))


def finish(
    mesh: ColoredMesh,
    query_rgb: ColorQuery,
    device: torch.device | str = "cpu",
    *,
    faces: int | None = None,
    texture: int | None = None,
    watertight: bool = False,
    size_cm: float | None = None,
) -> ColoredMesh:
    """The mesh as other programs like it; None leaves it as it is. An empty mesh stays so.

    Args:
        mesh: of a field, in box units; `is_manifold`, where it is simplified.
        query_rgb: the field's colours, on `device`.
        faces: at most so many; more remain where no further edge can collapse.
        texture: texels along a side; the colours of vertices are written beside it.
        watertight: simplification makes no face cut through another.
        size_cm: length of the longest side.
    """
    if mesh.is_empty:
        return mesh
    if faces is not None:
        mesh = simplified(mesh, faces, query_rgb, device, keep_apart=watertight)
    if texture is not None:
        mesh = bake(mesh, query_rgb, texture, device)
    return mesh if size_cm is None else scaled(mesh, size_cm)
