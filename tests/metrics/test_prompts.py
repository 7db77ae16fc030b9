import numpy as np
import pytest

from fieldforge.errors import UserError
from fieldforge.metrics.agreement import agreement, nearest_shapes
from fieldforge.metrics.clouds import chamfer_matrix, normalized_cloud


def box(size: tuple[float, float, float], seed: int) -> np.ndarray:
    """Points on the surface of a box."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (600, 3))
    axis = rng.integers(0, 3, 600)
    points[np.arange(600), axis] = np.sign(points[np.arange(600), axis])
    return points * size


def test_the_nearest_shape_is_found_whatever_its_size_and_place():
    training = [box((1, 1, 1), 0), box((1, 0.1, 1), 1), box((0.2, 1, 0.2), 2)]
    generated = [0.3 * box((0.2, 1, 0.2), 3) + 5, box((1, 0.12, 0.9), 4), np.zeros((0, 3)), 2 * box((1, 1, 1), 5)]
    np.testing.assert_array_equal(nearest_shapes(generated, training), [2, 1, -1, 0])


def test_the_first_look_does_not_change_what_is_nearest():
    rng = np.random.default_rng(0)
    training = [box(tuple(rng.uniform(0.1, 1, 3)), seed) for seed in range(80)]
    generated = [box(tuple(rng.uniform(0.1, 1, 3)), 100 + seed) for seed in range(8)]
    full = chamfer_matrix([normalized_cloud(x) for x in generated], [normalized_cloud(x) for x in training], False)
    np.testing.assert_array_equal(nearest_shapes(generated, training), full.argmin(axis=1))


def test_nothing_but_empty_shapes_is_near_to_nothing():
    np.testing.assert_array_equal(nearest_shapes([np.zeros((0, 3))], [box((1, 1, 1), 0)]), [-1])


def test_agreement_and_chance_by_hand():
    labels = ["chair", "chair", "chair", "lamp", "sofa", "sofa", "bed", "bed", "bed", "bed"]
    nearest = np.array([0, 3, 9, -1])  # chair, lamp, bed, nothing
    result = agreement(nearest, ["chair", "lamp", "sofa", "lamp"], labels)
    assert result.share == 0.5
    assert result.chance == pytest.approx((0.3 + 0.1 + 0.2 + 0.1) / 4)
    assert result.lift == pytest.approx(0.5 / 0.175)


def test_chance_is_what_random_training_shapes_reach():
    rng = np.random.default_rng(0)
    labels = list(rng.choice(["a", "b", "c"], size=200, p=[0.7, 0.2, 0.1]))
    prompted = list(rng.choice(["a", "b", "c"], size=20_000))
    result = agreement(rng.integers(0, 200, 20_000), prompted, labels)
    assert result.lift == pytest.approx(1.0, abs=0.05)


def test_a_prompt_without_training_shape_is_reported():
    with pytest.raises(UserError, match=r"'dragon'.*leave it out"):
        agreement(np.array([0]), ["dragon"], ["chair"])
