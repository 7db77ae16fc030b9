"""Sets of shapes compared, where the answer is plain."""

import numpy as np
import pytest

from fieldforge.domains.shape import ShapeDomain


def clouds(count: int, place: float, seed: int) -> list[np.ndarray]:
    """Boxes of random sizes around a place."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, (200, 3)) * rng.uniform(0.1, 0.3, 3) + place for _ in range(count)]


def test_sets_far_apart_are_told_apart_and_a_copy_is_taken_for_the_original():
    domain, here = ShapeDomain(), clouds(12, 0.0, seed=0)
    assert domain.compare_sets(here, clouds(12, 0.6, seed=1))["nearest_neighbour_accuracy"] == 1
    copies = [cloud + 1e-4 for cloud in here]
    figures, apart = domain.compare_sets(copies, here), pytest.approx(1e-4 * 3**0.5)
    for how in ("", "_emd"):
        assert figures[f"nearest_neighbour_accuracy{how}"] == 0
        assert figures[f"coverage{how}"] == 1
        assert figures[f"minimum_matching_distance{how}"] == apart


def test_two_draws_of_one_kind_are_hardly_told_apart():
    accuracy = ShapeDomain().compare_sets(clouds(40, 0.0, seed=0), clouds(40, 0.0, seed=1))
    assert accuracy["nearest_neighbour_accuracy"] == pytest.approx(0.5, abs=0.2)


def test_sets_of_clouds_of_unlike_sizes_are_matched_by_the_smallest():
    here = [cloud[: 150 + place] for place, cloud in enumerate(clouds(5, 0.0, seed=0))]
    figures = ShapeDomain().compare_sets(here, [cloud[:150] for cloud in here])
    assert figures["minimum_matching_distance_emd"] == 0


def test_empty_shapes_are_left_out():
    nothing, one = np.zeros((0, 3)), clouds(2, 0.0, seed=0)
    assert ShapeDomain().compare_sets([nothing, *one], one)["coverage"] == 1
    assert ShapeDomain().compare_sets([nothing, nothing], one) == {}
