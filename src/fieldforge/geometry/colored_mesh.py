"""The mesh of a decoded field: triangles with a colour and a normal at every vertex."""

from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

ROUGHNESS = 0.8  # of the material in files: matt


@dataclass(frozen=True)
class ColoredMesh:
    """Triangles in box units, counter-clockwise seen from outside; y up, front +z.

    vertices (P, 3) float32; faces (F, 3) int64; colors (P, 3) float32, sRGB 0…1; normals (P, 3) float32, unit length.
    An empty field gives a valid mesh without faces.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int64]
    colors: NDArray[np.float32]
    normals: NDArray[np.float32]

    def __post_init__(self) -> None:
        points = (len(self.vertices), 3)
        for name in ("vertices", "colors", "normals"):
            assert getattr(self, name).shape == points, f"{name} {getattr(self, name).shape} for {points[0]} vertices"
        assert self.faces.shape[1:] == (3,), f"faces {self.faces.shape}"
        if len(self.faces):
            assert self.faces.min() >= 0, "a face counts vertices from 0"
            assert self.faces.max() < points[0], "a face names a vertex that is not there"

    @property
    def is_empty(self) -> bool:
        return len(self.faces) == 0

    def color_at(self, faces: NDArray[np.integer], weights: NDArray[np.floating]) -> NDArray[np.float32]:
        """sRGB 0…1 (N, 3) at points on faces (N,) with barycentric weights (N, 3)."""
        return np.einsum("nc,ncd->nd", weights, self.colors[self.faces[faces]]).astype(np.float32)

    @staticmethod
    def empty() -> "ColoredMesh":
        """No vertices, no faces."""
        points = np.zeros((0, 3), np.float32)
        return ColoredMesh(points, np.zeros((0, 3), np.int64), points, points)


def vertex_normals(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> NDArray[np.float32]:
    """Unit normals (P, 3): the mean of the normals of the faces (F, 3) round each vertex (P, 3), weighted by angle.

    On the slivers of marching cubes angles err half as much as areas do. A vertex without proper faces gets +y.
    """
    normals = trimesh.Trimesh(vertices, faces, process=False, validate=False).vertex_normals
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(lengths > 0.5, normals, [0.0, 1.0, 0.0]).astype(np.float32)


def is_manifold(faces: NDArray[np.integer]) -> bool:
    """Whether every edge of faces (F, 3) is at most one face's there and at most one face's back; borders may be."""
    there, _ = directed_edges(faces)
    return len(np.unique(there)) == len(there)


def is_closed(faces: NDArray[np.integer]) -> bool:
    """Whether the surface of faces (F, 3) has no border: every edge is one face's there and another one's back."""
    there, back = directed_edges(faces)
    return len(np.unique(there)) == len(there) and np.array_equal(np.sort(there), np.sort(back))


def directed_edges(faces: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A number for each edge of each face (F, 3) as the face runs along it, and for the same edges back: (3F,)."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    count = int(faces.max(initial=0)) + 1
    return ends[:, 0] * count + ends[:, 1], ends[:, 1] * count + ends[:, 0]
