import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from fieldforge.metrics.clouds import chamfer_matrix, earth_movers_matrix, normalized_cloud
from fieldforge.metrics.distribution import (
    coverage,
    frechet_distance,
    kernel_distance,
    minimum_matching_distance,
    nearest_neighbour_accuracy,
)
from fieldforge.metrics.reconstruction import compare_surfaces

RNG = np.random.default_rng(0)


def test_mmd_and_coverage_by_hand():
    distances = np.array([[1.0, 4, 9], [2, 3, 9]])  # both generated shapes are nearest to the first reference
    assert minimum_matching_distance(distances) == pytest.approx((1 + 3 + 9) / 3)
    assert coverage(distances) == pytest.approx(1 / 3)
    assert coverage(np.array([[1.0, 2], [2, 1]])) == 1.0


def line(first, second):
    return np.abs(np.subtract.outer(np.asarray(first, float), np.asarray(second, float)))


@pytest.mark.parametrize(
    ("generated", "reference", "expected"),
    [
        ([0.0, 1.0], [10.0, 11.0], 1.0),  # two clusters: always told apart
        ([0.0, 10.0], [0.1, 10.1], 0.0),  # copies: the nearest is always of the other set
        ([0.0, 3.0], [1.0, 3.5], 0.0),
        ([0.0, 0.5, 5.0], [5.1, 9.0, 9.2], 4 / 6),
    ],
)
def test_nearest_neighbour_accuracy_by_hand(generated, reference, expected):
    result = nearest_neighbour_accuracy(
        line(generated, generated), line(generated, reference), line(reference, reference)
    )
    assert result == pytest.approx(expected)


def test_sets_from_one_distribution_cannot_be_told_apart():
    a, b = RNG.normal(size=(400, 3)), RNG.normal(size=(400, 3))
    assert nearest_neighbour_accuracy(cdist(a, a), cdist(a, b), cdist(b, b)) == pytest.approx(0.5, abs=0.06)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 12), st.integers(0, 99))
def test_frechet_distance_agrees_with_the_matrix_square_root(count, reference_count, width, seed):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width))
    a, b = rng.normal(size=(count, width)) @ mixing, rng.normal(size=(reference_count, width)) + 1
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    vals = np.linalg.eigvals(cov_a @ cov_b)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b) - 2 * np.sqrt(vals.real.clip(0)).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    if min(count, reference_count) > width + 5:
        root = sqrtm(cov_a @ cov_b).real
        full = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * root)
        assert frechet_distance(a, b) == pytest.approx(full, rel=1e-5)


def test_frechet_distance_of_known_gaussians():
    a = RNG.normal(size=(100_000, 2)) * [1.0, 3.0]
    b = RNG.normal(size=(100_000, 2)) * [2.0, 3.0] + [0.0, 5.0]
    assert frechet_distance(a, b) == pytest.approx(5.0**2 + (2.0 - 1.0) ** 2, rel=0.01)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("squared", [True, False])
def test_chamfer_matrix_is_the_chamfer_of_each_pair(squared):
    first, second = list(RNG.normal(size=(3, 20, 3))), list(RNG.normal(size=(2, 30, 3)))
    matrix = chamfer_matrix(first, second, squared)
    assert matrix.shape == (3, 2)
    pair = compare_surfaces(first[2], first[2], second[1], second[1])
    assert matrix[2, 1] == pytest.approx(pair.chamfer_l2 if squared else pair.chamfer_l1)


def test_earth_movers_distance_by_hand_and_under_a_shift():
    first, second = np.array([[0.0, 0, 0], [1, 0, 0]]), np.array([[1.0, 0, 0], [0, 0, 2]])
    np.testing.assert_allclose(earth_movers_matrix([first], [second]), [[(0 + 2) / 2]])
    cloud = RNG.normal(size=(50, 3))
    np.testing.assert_allclose(earth_movers_matrix([cloud], [cloud[::-1] + np.array([0, 0.3, 0])]), [[0.3]])
    with pytest.raises(AssertionError, match="no matching"):
        earth_movers_matrix([cloud], [first])


def test_a_normalised_cloud_forgets_place_and_size():
    cloud = RNG.uniform(size=(100, 3)) * [1, 2, 0.5]
    np.testing.assert_allclose(normalized_cloud(cloud * 7 + 3), normalized_cloud(cloud), atol=1e-12)
    low, high = normalized_cloud(cloud).min(axis=0), normalized_cloud(cloud).max(axis=0)
    np.testing.assert_allclose(low, -high, atol=1e-12)
    assert high.max() == pytest.approx(0.9)
    assert np.isfinite(normalized_cloud(np.zeros((3, 3)))).all()


def test_kernel_distance_is_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)) + 1

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    own = [np.mean([kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (x, y)]
    across = np.mean([kernel(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(sum(own) - 2 * across)


def test_kernel_distance_of_one_distribution_is_0_in_the_mean_however_few_samples_there_are():
    rng = np.random.default_rng(1)
    values = [kernel_distance(*rng.normal(size=(2, 6, 2))) for _ in range(4000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / len(values) ** 0.5
    assert kernel_distance(rng.normal(size=(50, 2)), rng.normal(size=(50, 2)) + 2) > 1
