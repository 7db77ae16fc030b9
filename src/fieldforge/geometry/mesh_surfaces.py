"""Meshes of files as those of fields are: vertices welded, colours asked of their surface, open ones closed anew.

libigl finds nearest points and winding numbers; the package is an extra, imported where it is needed.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from torch import Tensor

from fieldforge.geometry.colored_mesh import ColoredMesh, vertex_normals
from fieldforge.geometry.field_colors import query_colors
from fieldforge.geometry.isosurface import extract_mesh
from fieldforge.geometry.mesh import Mesh

FILL = 0.9  # of the box, by a surface that is made anew
STEEPEST = 1.01  # of a true distance, with rounding


@dataclass(frozen=True)
class Surface:
    """The surface of a mesh, asked at any points (N, 3) in its own units."""

    mesh: Mesh

    def nearest(self, points: Tensor) -> tuple[NDArray[np.floating], NDArray[np.integer], NDArray[np.floating]]:
        """Distances (N,) to the surface, the faces (N,) nearest to the points, and the places (N, 3) on them."""
        import igl

        squares, faces, places = igl.point_mesh_squared_distance(asked(points), self.mesh.vertices, self.mesh.faces)
        return np.sqrt(squares), faces, places

    def rgb(self, points: Tensor) -> Tensor:
        """sRGB 0…1 (N, 3) of the surface where it is nearest."""
        _, faces, places = self.nearest(points)
        weights = trimesh.triangles.points_to_barycentric(self.mesh.triangles[faces], places)
        return torch.from_numpy(self.mesh.color_at(faces, weights)[:, :3])

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance (N,), negative where the surface winds round a point (Jacobson et al. 2013)."""
        import igl

        winding = igl.fast_winding_number(self.mesh.vertices, self.mesh.faces, asked(points))
        return torch.from_numpy(np.where(np.abs(winding) > 0.5, -1.0, 1.0) * self.nearest(points)[0])

    def welded(self) -> ColoredMesh:
        """The mesh with one vertex at each place, without faces that have no area then."""
        vertices, number = np.unique(self.mesh.vertices, axis=0, return_inverse=True)
        faces = number.reshape(-1)[self.mesh.faces].astype(np.int64)
        a, b, c = faces.T
        faces = faces[(a != b) & (b != c) & (c != a)]
        used, faces = np.unique(faces, return_inverse=True)
        faces, vertices = faces.reshape(-1, 3), vertices[used]
        return ColoredMesh(
            vertices.astype(np.float32), faces, query_colors(self.rgb, vertices), vertex_normals(vertices, faces)
        )

    def closed_anew(self, resolution: int) -> ColoredMesh:
        """The isosurface of `sdf` from a grid of resolution³ cells about the mesh; empty where nothing is inside."""
        low, high = self.mesh.bounds
        middle = torch.from_numpy((low + high) / 2).float()
        half = max(float((high - low).max()) / 2 / FILL, 1e-12)
        made = extract_mesh(
            lambda points: self.sdf(points * half + middle) / half,
            lambda points: self.rgb(points * half + middle),
            resolution,
            lipschitz=STEEPEST,
        )
        return replace(made, vertices=(made.vertices * half + middle.numpy()).astype(np.float32))


def asked(points: Tensor) -> NDArray[np.float64]:
    return np.ascontiguousarray(points.numpy(), dtype=np.float64)
