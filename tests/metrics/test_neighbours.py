"""Edges, parts, texture and openness where the answer is plain."""

import numpy as np
import pytest
import trimesh

from fieldforge.metrics.neighbours import count_parts, neighbours_of, openness, sharp_normal_error, texture


def sampled(mesh: trimesh.Trimesh, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    points, faces = trimesh.sample.sample_surface(mesh, count, seed=seed)
    return np.asarray(points), np.asarray(mesh.face_normals[faces])


def ridge(angle: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two planes whose normals differ by an angle in degrees and meet along the y axis."""
    rng, half = np.random.default_rng(seed), np.radians(angle) / 2
    across, along = rng.uniform(-1, 1, count), rng.uniform(-1, 1, count)
    points = np.stack([across * np.cos(half), along, -np.abs(across) * np.sin(half)], axis=1)
    normals = np.stack([np.sign(across) * np.sin(half), np.zeros(count), np.full(count, np.cos(half))], axis=1)
    return points, normals


def test_a_box_has_its_own_edges_and_a_ball_has_none():
    box, ball = trimesh.creation.box((1, 1, 1)), trimesh.creation.icosphere(4, 0.6)
    assert sharp_normal_error(*sampled(box, 40_000, 1), *sampled(box, 4_000)) < 0.5
    assert np.isnan(sharp_normal_error(*sampled(box, 4_000), *sampled(ball, 4_000)))
    assert sharp_normal_error(np.zeros((0, 3)), np.zeros((0, 3)), *sampled(box, 4_000)) == 90


@pytest.mark.parametrize("angle", [60.0, 90.0])
def test_an_edge_that_is_cut_off_is_half_its_angle_wrong(angle):
    true_points, true_normals = ridge(angle, 4_000, seed=0)
    flat = np.random.default_rng(1).uniform(-1, 1, (20_000, 3)) * [1, 1, 0]
    upward = np.tile([0.0, 0.0, 1.0], (len(flat), 1))
    assert sharp_normal_error(flat, upward, true_points, true_normals) == pytest.approx(angle / 2)
    assert sharp_normal_error(*ridge(angle, 40_000, seed=2), true_points, true_normals) == pytest.approx(0, abs=0.5)


def test_a_bend_below_the_limit_is_no_edge():
    assert np.isnan(sharp_normal_error(*ridge(40, 4_000, seed=1), *ridge(40, 4_000, seed=0)))


def test_the_side_of_a_normal_does_not_matter():
    points, normals = sampled(trimesh.creation.box((1, 1, 1)), 4_000)
    assert sharp_normal_error(points, -normals, points, normals) == pytest.approx(0, abs=1e-3)


def test_parts_are_groups_of_points_as_components_of_meshes_are():
    boxes = [trimesh.creation.box((1, 1, 1)).apply_translation((3 * place, 0, 0)) for place in range(4)]
    joined = trimesh.util.concatenate(boxes)
    assert count_parts(neighbours_of(sampled(joined, 4_000)[0])) == joined.body_count == 4


def test_one_colour_has_no_texture_and_noise_has_that_of_two_draws():
    neighbours = neighbours_of(np.random.default_rng(0).random((20_000, 3)))
    assert texture(np.full((20_000, 3), 0.3), neighbours) == 0
    noise = np.random.default_rng(1).random((20_000, 3))
    assert texture(noise, neighbours) == pytest.approx(1 / 3, abs=0.005)  # the mean difference of two uniform numbers


def test_openness_of_a_sheet_and_of_a_half_space():
    offsets = np.random.default_rng(0).normal(size=100_000)
    assert openness(offsets) == pytest.approx(0, abs=0.01)
    assert openness(np.abs(offsets)) == 1
    assert openness(np.where(np.arange(len(offsets)) % 2, offsets, np.abs(offsets))) == pytest.approx(0.5, abs=0.01)
