"""Surface sampling is uniform by area, between faces and within them."""

import numpy as np
import pytest
from scipy import stats

from fieldforge.geometry.mesh import Material, Mesh, concatenate
from fieldforge.geometry.sampling import fibonacci_directions, sample_surface


def triangle(corners: list[list[float]], red: float = 0.5) -> Mesh:
    return Mesh(np.array(corners, np.float64), np.array([[0, 1, 2]]), (Material((red, 0, 0, 1)),))


def test_points_fall_on_faces_by_their_areas():
    small, large = triangle([[0, 0, 0], [1, 0, 0], [0, 1, 0]]), triangle([[0, 0, 5], [3, 0, 5], [0, 3, 5]])
    samples = sample_surface(concatenate([small, large]), 10_000, np.random.default_rng(0))
    assert abs((samples.faces == 0).sum() - 1000) <= 1  # stratified: area 0.5 of 5
    np.testing.assert_allclose(samples.points[samples.faces == 1, 2], 5)
    prefix = (samples.faces[:2000] == 0).sum()
    assert stats.binomtest(int(prefix), 2000, 0.1).pvalue > 1e-4  # any prefix is a fair sample


def test_points_within_a_triangle_are_uniform():
    mesh = triangle([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    points = sample_surface(mesh, 20_000, np.random.default_rng(1)).points
    # For x of a uniform point in this triangle P(x < s) = 1 - (1 - s)², and the same for y and for 1 - x - y.
    for coordinate in (points[:, 0], points[:, 1], 1 - points[:, 0] - points[:, 1]):
        assert stats.kstest(coordinate, lambda s: 1 - (1 - s) ** 2).pvalue > 1e-4


def test_samples_carry_normal_and_colour():
    mesh = concatenate(
        [triangle([[0, 0, 0], [1, 0, 0], [0, 1, 0]], 0.25), triangle([[0, 0, 0], [0, 1, 0], [0, 0, 1]], 0.75)]
    )
    samples = sample_surface(mesh, 100, np.random.default_rng(2))
    flat = samples.faces == 0
    np.testing.assert_allclose(samples.normals[flat], np.tile([0, 0, 1], (flat.sum(), 1)))
    np.testing.assert_allclose(samples.normals[~flat], np.tile([1, 0, 0], ((~flat).sum(), 1)))
    np.testing.assert_allclose(samples.colors[:, 0], np.where(flat, 0.25, 0.75))


def test_same_seed_same_points():
    mesh = triangle([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    first, second = (sample_surface(mesh, 50, np.random.default_rng(3)).points for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_mesh_without_area_is_refused():
    with pytest.raises(AssertionError, match="without area"):
        sample_surface(triangle([[0, 0, 0], [1, 0, 0], [2, 0, 0]]), 10, np.random.default_rng(0))


@pytest.mark.parametrize("count", [24, 64])
def test_fibonacci_directions_are_even(count: int):
    directions = fibonacci_directions(count)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    np.testing.assert_allclose(directions.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(directions.T @ directions / count, np.eye(3) / 3, atol=0.02)
    nearest = np.sort(np.arccos(np.clip(directions @ directions.T, -1, 1)), axis=1)[:, 1]
    assert nearest.min() > 0.7 * np.sqrt(4 * np.pi / count)  # no two close together: 1.0 would be a perfect packing
