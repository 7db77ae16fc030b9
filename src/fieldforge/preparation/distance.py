"""Signed distance for open, multi-part and badly oriented meshes, and visibility from outside."""

import numpy as np

from fieldforge.geometry.mesh import Mesh
from fieldforge.geometry.sampling import fibonacci_directions

ESCAPE_DIRECTIONS = 64
OUTSIDE_SHARE = 0.35
"""A point from which this share of directions reaches infinity is outside, whatever the winding number says."""

EXPOSURE_DIRECTIONS = 24
EXPOSURE_OFFSET = 1e-3
"""How far from the surface (box units) the look-out points stand."""


class Caster:
    """Ray and distance queries against one mesh (Embree, through open3d), on one thread."""

    def __init__(self, mesh: Mesh) -> None:
        import open3d as o3d  # an optional dependency, and slow to import

        self.mesh = mesh
        self._o3d = o3d
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(
            o3d.core.Tensor(mesh.vertices.astype(np.float32)), o3d.core.Tensor(mesh.faces.astype(np.uint32))
        )

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Unsigned distance (N,) float32 of points (N, 3) to the surface."""
        return self._scene.compute_distance(self._o3d.core.Tensor(points.astype(np.float32)), nthreads=1).numpy()

    def blocked(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """(N,) bool: does the ray from origins (N, 3) along directions (N, 3) hit anything?"""
        rays = np.concatenate([origins, directions], axis=1).astype(np.float32)
        return self._scene.test_occlusions(self._o3d.core.Tensor(rays), nthreads=1).numpy()

    def hit(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First hit: ray parameter (N,) (inf: none), face (N,), barycentric weights (N, 3)."""
        rays = np.concatenate([origins, directions], axis=1).astype(np.float32)
        answer = self._scene.cast_rays(self._o3d.core.Tensor(rays), nthreads=1)
        uv = answer["primitive_uvs"].numpy().astype(np.float64)  # (N, 2) weights of corners 1 and 2
        weights = np.concatenate([1 - uv.sum(axis=1, keepdims=True), uv], axis=1)
        return answer["t_hit"].numpy(), answer["primitive_ids"].numpy().astype(np.int64), weights


def escape_counts(caster: Caster, points: np.ndarray, enough: int) -> np.ndarray:
    """Number of the ESCAPE_DIRECTIONS directions in which a ray from each point (N, 3) reaches infinity: (N,).

    Counting stops for a point once `enough` is reached (its count is then at least that). Points outside of the mesh's
    bounding box see a free half-space and are given `enough` at once.
    """
    directions = fibonacci_directions(ESCAPE_DIRECTIONS)
    # A stride coprime to the count spreads the first directions over the sphere, so that open points stop early.
    directions = directions[(np.arange(ESCAPE_DIRECTIONS) * 23) % ESCAPE_DIRECTIONS]
    low, high = caster.mesh.bounds
    counts = np.where(((points < low) | (points > high)).any(axis=1), enough, 0)
    for direction in directions:
        open_points = np.flatnonzero(counts < enough)
        if len(open_points) == 0:
            break
        origins = points[open_points]
        counts[open_points] += ~caster.blocked(origins, np.broadcast_to(direction, origins.shape))
    return counts


def signed_distance(caster: Caster, points: np.ndarray, epsilon: float) -> np.ndarray:
    """Signed distance (N,) float32, negative inside, of points (N, 3), lowered by `epsilon` (box units).

    A point is inside if no ray escapes, or if |winding number| > 0.5 and fewer than 35 % of the rays escape. The
    winding number alone fails on open and badly oriented parts, the rays alone on small holes. Lowering by `epsilon`
    turns open sheets into slabs of thickness 2 * epsilon; without it they would vanish.
    """
    import igl

    enough = int(np.ceil(OUTSIDE_SHARE * ESCAPE_DIRECTIONS))
    escaped = escape_counts(caster, points, enough)
    inside = escaped == 0
    doubtful = np.flatnonzero((escaped > 0) & (escaped < enough))
    if len(doubtful):
        winding = igl.fast_winding_number(
            np.ascontiguousarray(caster.mesh.vertices, np.float64),
            np.ascontiguousarray(caster.mesh.faces, np.int64),
            np.ascontiguousarray(points[doubtful], np.float64),
        )
        inside[doubtful] = np.abs(winding) > 0.5
    distance = caster.distance(points)
    return np.where(inside, -distance, distance) - np.float32(epsilon)


def exposed_sides(caster: Caster, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exposure to the outside of both sides of a surface at points (N, 3): the normals' (N, 3) side first; (N,) bool.

    A side is visible if a ray from just above it reaches infinity in at least one of EXPOSURE_DIRECTIONS directions.
    """
    sides = []
    for sign in (1.0, -1.0):
        origins = points + sign * EXPOSURE_OFFSET * normals
        side = np.zeros(len(points), bool)
        for direction in fibonacci_directions(EXPOSURE_DIRECTIONS):
            # Only directions of this side's half-space: the others would have to pass through the surface itself.
            hidden = np.flatnonzero(~side & (sign * (normals @ direction) > 0))
            if len(hidden):
                side[hidden] = ~caster.blocked(origins[hidden], np.broadcast_to(direction, (len(hidden), 3)))
        sides.append(side)
    return sides[0], sides[1]
