"""Numbers and parts of shapes whose truth is known: spheres, boxes, boxes with a knob."""

import numpy as np
import pytest
import torch

from fieldforge.conditioning import Conditioner, PointsSource
from fieldforge.conditioning.partial_points import PartialPoints, cropped
from fieldforge.conditioning.shape_numbers import NEAR, ShapeNumbers, proportions, sharpness, symmetry
from fieldforge.errors import UserError

N = 4096


def sphere(radius: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    normals = np.random.default_rng(0).normal(size=(N, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return radius * normals, normals


def box(x: float, y: float, z: float, count: int = N, at: tuple = (0, 0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """Points uniform on a box of these half sides, and their normals."""
    rng, half = np.random.default_rng(1), np.array([x, y, z])
    areas = np.array([y * z, x * z, x * y])
    axis, sign = rng.choice(3, count, p=areas / areas.sum()), rng.choice([-1.0, 1.0], count)
    points, normals = rng.uniform(-half, half, (count, 3)), np.zeros((count, 3))
    points[np.arange(count), axis], normals[np.arange(count), axis] = sign * half[axis], sign
    return points + np.array(at), normals


def stored(points: np.ndarray, normals: np.ndarray, key: str = "a") -> dict:
    return {
        "__key__": key, "surface_points.npy": points.astype(np.float16),
        "surface_normals.npy": np.round(127 * normals).astype(np.int8),
        "surface_exposed.npy": np.ones(len(points), np.uint8),
    }  # fmt: skip


def test_proportions_are_those_of_the_box():
    np.testing.assert_allclose(proportions(*box(0.45, 0.9, 0.3)), [0.5, 1, 1 / 3], atol=1e-6)
    np.testing.assert_allclose(proportions(*sphere()), [1, 1, 1], atol=0.01)


def test_a_sphere_and_a_box_are_symmetric_wherever_they_stand():
    for points, normals in (sphere(), box(0.3, 0.9, 0.2, at=(0.1, 0, -0.2))):
        assert symmetry(points, normals).min() > 0.97


def test_what_one_side_alone_has_is_missing_on_the_other():
    slab, knob = box(0.9, 0.05, 0.9, N // 2), box(0.1, 0.1, 0.1, N // 2, at=(0.8, 0.5, 0.0))
    both = [np.concatenate(pair)[np.random.default_rng(2).permutation(N)] for pair in zip(slab, knob, strict=True)]
    x, _, z = symmetry(*both)
    assert z > 0.95  # the knob lies on the plane z = 0
    assert 0.45 < x < 0.55  # half of the points are the knob's


def test_sharpness_is_the_share_beside_edges():
    assert sharpness(*sphere())[0] == 0
    within = 1 - (1 - NEAR / 0.9) ** 2  # of a face of the cube
    assert 0.6 * within < sharpness(*box(0.9, 0.9, 0.9))[0] <= within
    slab = box(0.9, 0.01, 0.9)  # its two sides are no edge
    assert sharpness(*slab)[0] < 1.4 * within


@pytest.mark.parametrize(("key", "count"), [("proportions", 3), ("symmetry", 3), ("sharpness", 1)])
def test_a_stored_shape_is_measured_once(key: str, count: int):
    transform, rng = ShapeNumbers(key), np.random.default_rng(0)
    first = transform(stored(*sphere()), rng)[key]
    assert (first.shape, first.dtype) == ((count,), np.float32)
    assert transform({"__key__": "a"}, rng)[key] is first
    other = transform(stored(*box(0.9, 0.2, 0.4), key="b"), rng)[key]
    assert not np.array_equal(first, other)


def test_a_part_is_what_lies_on_one_side():
    points, _ = sphere()
    for share in (0.25, 0.5):
        left = cropped(points, share, np.random.default_rng(3))
        assert len(left) == round(share * N)
        middle = left.mean(0) / np.linalg.norm(left.mean(0))
        lost = np.array([point for point in points if not (point == left).all(1).any()])
        assert (left @ middle).min() > (lost @ middle).max() - 0.1
    part = PartialPoints(64, 0.25, 0.75)(stored(*sphere()), np.random.default_rng(0))["points"]
    assert part.shape == (64, 3)
    with pytest.raises(UserError, match="least first"):
        PartialPoints(64, 0.5, 0.25)


def test_points_are_a_set_and_padding_is_not_seen():
    torch.manual_seed(0)
    conditioner = Conditioner({"points": PointsSource(8, count=32, queries=4, inner=16, heads=2, layers=1)}).eval()
    cloud = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)
    clouds = [cloud, cloud[::-1].copy(), np.concatenate([cloud[:10], cloud[:10] + 0.3])]
    with torch.no_grad():
        condition = conditioner(conditioner.embed({"points": clouds}))
        alone = conditioner(conditioner.embed({"points": [np.tile(cloud, (4, 1))]}))
    assert condition.tokens.shape == (3, 4, 8)
    torch.testing.assert_close(condition.tokens[0], condition.tokens[1], atol=1e-5, rtol=1e-5)
    assert (condition.vector[0] - condition.vector[2]).abs().max() > 1e-3
    assert alone.tokens.shape == (1, 4, 8)
    dropped = conditioner(conditioner.embed({"points": clouds}), {"points": torch.tensor([True, False, False])})
    torch.testing.assert_close(dropped.vector[0], conditioner.null(1).vector[0])
    torch.testing.assert_close(dropped.vector[1], condition.vector[1])
