"""Point sampling on a mesh, uniform by area, with normals and colours."""

from dataclasses import astuple, dataclass

import numpy as np

from fieldforge.geometry.mesh import INVISIBLE, Mesh

ROUNDS = 64
"""How often points are drawn again for those that were not visible."""


@dataclass(frozen=True)
class SurfaceSamples:
    """N points on a mesh: points (N, 3), normals (N, 3) unit, colors (N, 4) sRGB + alpha, triangles faces (N,)."""

    points: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    faces: np.ndarray

    def select(self, chosen: np.ndarray) -> "SurfaceSamples":
        """The points of an index array."""
        return SurfaceSamples(self.points[chosen], self.normals[chosen], self.colors[chosen], self.faces[chosen])


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


def sample_visible_surface(mesh: Mesh, count: int, rng: np.random.Generator) -> SurfaceSamples | None:
    """Like `sample_surface`, on the visible surface alone, as in its pictures. None if no part is visible.

    Rejection sampling: the next visible point replaces an invisible one.
    """
    samples = sample_surface(mesh, count, rng)
    hidden = samples.colors[:, 3] < INVISIBLE
    if not hidden.any():
        return samples
    parts = [samples.select(np.flatnonzero(~hidden))]
    for _ in range(ROUNDS):
        if sum(len(part.points) for part in parts) >= count:
            break
        more = sample_surface(mesh, count, rng)
        parts.append(more.select(np.flatnonzero(more.colors[:, 3] >= INVISIBLE)))
    n_visible = sum(len(part.points) for part in parts)
    if n_visible == 0:
        return None
    visible = SurfaceSamples(*(np.concatenate(columns) for columns in zip(*map(astuple, parts), strict=True)))
    order = np.empty(count, np.int64)
    order[~hidden] = np.arange(count - hidden.sum())
    order[hidden] = np.arange(count - hidden.sum(), count)
    return visible.select(order % n_visible)  # of very few visible points each comes several times


def fibonacci_directions(count: int) -> np.ndarray:
    """(count, 3) unit vectors spread evenly over the sphere, from +y down to -y (spherical Fibonacci lattice)."""
    index = np.arange(count) + 0.5
    y = 1 - 2 * index / count
    radius = np.sqrt(1 - y * y)
    angle = np.pi * (1 + np.sqrt(5)) * index
    return np.stack([radius * np.sin(angle), y, radius * np.cos(angle)], axis=1)
