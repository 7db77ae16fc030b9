import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torchmetrics.functional.image import peak_signal_noise_ratio

from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.isosurface import extract_mesh
from fieldforge.metrics.reconstruction import (
    BOX_DIAGONAL,
    compare_surfaces,
    peak_signal_to_noise,
    surface_points,
    volume_iou,
)


def test_volume_iou_counts_negative_distances():
    assert volume_iou(np.array([-1.0, -1, 1, 1]), np.array([-1.0, 1, -1, 1])) == pytest.approx(1 / 3)
    assert volume_iou(np.array([1.0, 0.0]), np.array([1.0, 2.0])) == 1.0
    assert volume_iou(np.array([1.0, 0.0]), np.array([1.0, -2.0])) == 0.0


def test_volume_iou_of_two_balls_is_the_ratio_of_their_volumes():
    points = np.random.default_rng(0).uniform(-1, 1, (200_000, 3))
    radii = np.linalg.norm(points, axis=1)
    assert volume_iou(radii - 0.6, radii - 0.8) == pytest.approx((0.6 / 0.8) ** 3, abs=0.01)


def test_surfaces_of_three_points_compare_as_by_hand():
    points = np.array([[0.0, 0, 0], [1, 0, 0]])
    normals = np.array([[0.0, 0, 1], [0, 0, -1]])
    truth = np.array([[0.0, 0, 0.01], [1, 0, 0.5], [1, 0, 0.3]])
    true_normals = np.array([[0.0, 0, 1], [0, 1, 0], [0, 0.6, 0.8]])
    result = compare_surfaces(points, normals, truth, true_normals, threshold=0.02)
    # d = 0.01, 0.3; e = 0.01, 0.5, 0.3
    assert result.chamfer_l1 == pytest.approx((0.155 + 0.27) / 2)
    assert result.chamfer_l2 == pytest.approx((0.0001 + 0.09) / 2 + (0.0001 + 0.25 + 0.09) / 3)
    assert result.precision == pytest.approx(1 / 2)
    assert result.recall == pytest.approx(1 / 3)
    assert result.f_score == pytest.approx(0.4)
    assert result.normal_consistency == pytest.approx(((1 + 0.8) / 2 + (1 + 0 + 0.8) / 3) / 2)


def test_surfaces_compare_as_by_all_pairwise_distances():
    rng = np.random.default_rng(1)
    points, truth = rng.normal(size=(300, 3)), rng.normal(size=(200, 3))
    result = compare_surfaces(points, points, truth, truth, threshold=0.2)
    distances = cdist(points, truth)
    d, e = distances.min(axis=1), distances.min(axis=0)
    assert result.chamfer_l1 == pytest.approx((d.mean() + e.mean()) / 2)
    assert result.chamfer_l2 == pytest.approx((d**2).mean() + (e**2).mean())
    assert (result.precision, result.recall) == pytest.approx(((d < 0.2).mean(), (e < 0.2).mean()))


def test_a_surface_agrees_with_itself_turned_inside_out():
    ball = extract_mesh(lambda p: p.norm(dim=-1) - 0.8, lambda p: p * 0, 48)
    points, normals = surface_points(ball, 4000, np.random.default_rng(0))
    more, more_normals = surface_points(ball, 16000, np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 0.8, atol=3e-3)
    np.testing.assert_allclose((points * normals).sum(axis=1) / 0.8, 1, atol=0.02)
    result = compare_surfaces(points, -normals, more, more_normals, threshold=0.05)
    assert result.f_score > 0.99
    assert result.normal_consistency > 0.99


def test_sparse_points_bound_the_precision_as_documented():
    rng = np.random.default_rng(3)

    def square(count: int) -> np.ndarray:
        return np.concatenate([rng.random((count, 2)), np.zeros((count, 1))], axis=1)

    points, truth = square(20_000), square(300)
    result = compare_surfaces(points, points, truth, truth, threshold=0.03)
    assert result.precision == pytest.approx(1 - math.exp(-math.pi * 0.03**2 * 300), abs=0.03)
    assert result.recall > 0.999


def test_an_empty_reconstruction_scores_worst_and_stays_finite():
    points, normals = surface_points(ColoredMesh.empty(), 10, np.random.default_rng(0))
    result = compare_surfaces(points, normals, np.ones((4, 3)), np.ones((4, 3)))
    assert result.chamfer_l1 == pytest.approx(BOX_DIAGONAL) == pytest.approx(math.dist([-1] * 3, [1] * 3))
    assert result.f_score == result.normal_consistency == 0


def test_psnr_agrees_with_torchmetrics():
    rng = np.random.default_rng(2)
    picture, truth = rng.random((8, 8, 3)), rng.random((8, 8, 3))
    expected = peak_signal_noise_ratio(torch.from_numpy(picture), torch.from_numpy(truth), data_range=1.0)
    assert peak_signal_to_noise(picture, truth) == pytest.approx(expected.item())
    assert peak_signal_to_noise(truth, truth) == pytest.approx(100)
