"""Points on a mesh, uniform by area, with what is known there."""

from dataclasses import dataclass

import numpy as np

from fieldforge.geometry.mesh import Mesh


@dataclass(frozen=True)
class SurfaceSamples:
    """N points on a mesh: points (N, 3), normals (N, 3) unit, colors (N, 4) sRGB + alpha, triangles faces (N,)."""

    points: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    faces: np.ndarray


def sample_surface(mesh: Mesh, count: int, rng: np.random.Generator) -> SurfaceSamples:
    """`count` points, uniform by area over all faces.

    The share of each face is stratified (one jittered point per equal slice of the total area), so that small parts are
    not missed by chance; the place inside a face is uniform: (1 - √u, √u (1 - v), √u v), Osada et al. 2002, eq. 1.
    """
    cumulative = np.cumsum(mesh.face_areas)
    assert cumulative.size > 0, "a mesh without faces has no surface to sample"
    assert cumulative[-1] > 0, "a mesh without area has no surface to sample"
    position = (np.arange(count) + rng.random(count)) / count * cumulative[-1]
    faces = np.minimum(np.searchsorted(cumulative, position, side="right"), len(cumulative) - 1)
    rng.shuffle(faces)  # any prefix of the points is a fair sample too
    root, v = np.sqrt(rng.random(count)), rng.random(count)
    barycentric = np.stack([1 - root, root * (1 - v), root * v], axis=1)  # (N, 3)
    points = np.einsum("nc,ncd->nd", barycentric, mesh.triangles[faces])
    return SurfaceSamples(points, mesh.face_normals[faces], mesh.color_at(faces, barycentric), faces)


def fibonacci_directions(count: int) -> np.ndarray:
    """(count, 3) unit vectors spread evenly over the sphere, from +y down to -y (spherical Fibonacci lattice)."""
    index = np.arange(count) + 0.5
    y = 1 - 2 * index / count
    radius = np.sqrt(1 - y * y)
    angle = np.pi * (1 + np.sqrt(5)) * index
    return np.stack([radius * np.sin(angle), y, radius * np.cos(angle)], axis=1)
