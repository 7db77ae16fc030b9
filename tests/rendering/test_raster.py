import math

import numpy as np
import pytest
import torch

from fieldforge.geometry.camera import Camera, look_at
from fieldforge.rendering import raster
from fieldforge.rendering.raster import rasterize


def cast(origins: np.ndarray, directions: np.ndarray, vertices: np.ndarray, faces: np.ndarray):
    """Nearest face and barycentric weights by intersecting every ray with every triangle (Möller and Trumbore 1997)."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(directions[:, None], c - a)  # (R, F, 3)
    determinant = (normal * (b - a)).sum(-1)
    offset = origins[:, None] - a
    u = (offset * normal).sum(-1) / determinant
    across = np.cross(offset, b - a)
    v = (directions[:, None] * across).sum(-1) / determinant
    distance = (across * (c - a)).sum(-1) / determinant
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
    distance = np.where(hit, distance, np.inf)
    nearest = distance.argmin(axis=1)
    rays = np.arange(len(nearest))
    u, v = u[rays, nearest], v[rays, nearest]
    return hit.any(axis=1), nearest, np.stack([1 - u - v, u, v], axis=-1)


@pytest.mark.parametrize("pairs_at_once", [2**21, 500])
def test_a_triangle_soup_is_seen_as_by_casting_rays(pairs_at_once, monkeypatch):
    monkeypatch.setattr(raster, "PAIRS_AT_ONCE", pairs_at_once)
    generator = torch.Generator().manual_seed(0)
    vertices = torch.rand(90, 3, generator=generator, dtype=torch.float64) * 2 - 1
    faces = torch.arange(90).reshape(30, 3)
    camera = Camera(look_at(torch.tensor([1.0, 1.5, 2.5], dtype=torch.float64)), math.radians(50), 40, 56)
    seen = rasterize(vertices, faces, camera)

    rays = camera.rays()
    hit, face, weights = cast(
        rays.origins.reshape(-1, 3).numpy(), rays.directions.reshape(-1, 3).numpy(), vertices.numpy(), faces.numpy()
    )
    assert 0.2 < hit.mean() < 0.95
    np.testing.assert_array_equal(seen.hit.flatten(), hit)
    np.testing.assert_array_equal(seen.corners.reshape(-1, 3)[hit], faces.numpy()[face[hit]])
    np.testing.assert_allclose(seen.weights.reshape(-1, 3)[hit], weights[hit], atol=1e-5)


def test_interpolated_places_lie_on_the_rays_of_their_pixels():
    vertices = torch.tensor(
        [[-3.0, -1, -4], [3, -1, -4], [0, -1, 1.5]], dtype=torch.float64
    )  # a floor, strongly oblique
    camera = Camera(look_at(torch.tensor([0.0, 0.2, 2.0], dtype=torch.float64)), math.radians(60), 24, 24)
    seen = rasterize(vertices, torch.tensor([[0, 1, 2]]), camera)
    places = seen.interpolate(vertices)[seen.hit]
    pixels, _ = camera.project(places)
    assert len(places) > 20
    np.testing.assert_allclose(pixels, seen.hit.nonzero() + 0.5, atol=1e-3)


def test_neighbouring_faces_leave_no_seam():
    vertices = torch.tensor([[-9.0, -9, 0], [9, -9, 0], [9, 9, 0], [-9, 9, 0]], dtype=torch.float64)
    camera = Camera(look_at(torch.tensor([0.1, 0.2, 2.0], dtype=torch.float64)), math.radians(60), 64, 64)
    assert rasterize(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), camera).hit.all()


def test_what_is_behind_the_camera_and_what_is_not_there_is_not_seen():
    camera = Camera(look_at(torch.tensor([0.0, 0.0, 2.0])), math.radians(60), 8, 8)
    behind = torch.tensor([[-1.0, -1, 3], [1, -1, 3], [0, 1, 3]])
    assert not rasterize(behind, torch.tensor([[0, 1, 2]]), camera).hit.any()
    assert not rasterize(behind, torch.zeros(0, 3, dtype=torch.int64), camera).hit.any()
