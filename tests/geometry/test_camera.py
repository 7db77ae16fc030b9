import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fieldforge.geometry.camera import (
    Camera,
    Rays,
    fibonacci_poses,
    framing_distance,
    look_at,
    orbit_poses,
    turntable_poses,
)

FOV = math.radians(40)


def test_a_front_camera_sees_x_to_the_right_and_y_up():
    camera = Camera(look_at(torch.tensor([0.0, 0.0, 3.0])), FOV, 8, 8)
    pixels, distance = camera.project(torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    assert pixels[0, 1] > 4
    assert pixels[0, 0] == pytest.approx(4, abs=1e-5)
    assert pixels[1, 0] < 4
    assert pixels[1, 1] == pytest.approx(4, abs=1e-5)
    assert distance[2] == pytest.approx(2.0)


def test_corner_rays_follow_from_the_opening_angle():
    camera = Camera(torch.eye(4), math.radians(90), 2, 4)
    rays = camera.rays()
    assert rays.directions.shape == (2, 4, 3)
    # Vertical half-extent at distance 1 is tan 45° = 1, horizontal 2; centre of the top left pixel: y = 0.5, x = -1.5.
    expected = np.array([-1.5, 0.5, -1.0])
    np.testing.assert_allclose(rays.directions[0, 0], expected / np.linalg.norm(expected), atol=1e-6)


@given(st.integers(0, 47), st.integers(0, 63), st.floats(0.1, 5.0), st.floats(-3.0, 3.0), st.floats(-1.4, 1.4))
def test_projection_undoes_the_ray_through_a_pixel(row, column, distance, azimuth, elevation):
    camera = Camera(orbit_poses(torch.tensor(azimuth), torch.tensor(elevation), 3.0).double(), FOV, 48, 64)
    rays = camera.rays_through(torch.tensor([row]), torch.tensor([column]))
    pixels, _ = camera.project(rays.origins + distance * rays.directions)
    np.testing.assert_allclose(pixels[0], [row + 0.5, column + 0.5], atol=1e-3)


@pytest.mark.parametrize("poses", [turntable_poses(7, 3.0, azimuth=0.3), fibonacci_poses(20, 3.0)])
def test_poses_are_rotations_that_look_at_the_origin(poses):
    rotation = poses[:, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.transpose(1, 2), torch.eye(3).expand_as(rotation), atol=1e-5)
    np.testing.assert_allclose(torch.linalg.det(rotation), 1.0, atol=1e-5)
    np.testing.assert_allclose(poses[:, :3, 3], 3.0 * poses[:, :3, 2], atol=1e-5)  # the centre lies on the +z axis
    assert (poses[:, 1, 1] >= 0).all(), "no picture is upside down"


def test_turntable_starts_at_the_front_and_goes_to_the_x_side():
    poses = turntable_poses(4, 2.0, elevation=0.0)
    np.testing.assert_allclose(poses[:2, :3, 3], [[0, 0, 2], [2, 0, 0]], atol=1e-6)


def test_fibonacci_poses_cover_the_sphere_evenly():
    eyes = fibonacci_poses(200, 1.0)[:, :3, 3].double().numpy()
    np.testing.assert_allclose(eyes.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(eyes.T @ eyes / len(eyes), np.eye(3) / 3, atol=0.01)
    gaps = np.sort(np.linalg.norm(eyes[:, None] - eyes[None], axis=-1), axis=1)[:, 1]
    assert gaps.min() > 0.5 * math.sqrt(4 * math.pi / 200)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_straight_from_above_or_below_the_picture_still_has_a_right_side(side):
    camera = Camera(look_at(torch.tensor([0.0, 3.0 * side, 0.0])), FOV, 8, 8)
    pixels, _ = camera.project(torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, 0.5]]))
    assert torch.isfinite(camera.camera_to_world).all()
    assert pixels[0, 1] > 4, "+x is to the right"
    assert (pixels[1, 0] > 4) == (side > 0), "from above the front is at the bottom"


def test_box_interval_of_rays_through_beside_inside_and_parallel_to_the_box():
    origins = torch.tensor([[0.0, 0, 3], [0, 2, 3], [0, 0, 0], [0, 0, 3], [1.0, 0, 3], [-3, -3, -3]])
    directions = torch.tensor([[0.0, 0, -1], [0, 0, -1], [1, 0, 0], [0, 0, 1], [0, 0, -1], [1, 1, 1]])
    directions = torch.nn.functional.normalize(directions, dim=-1)
    near, far = Rays(origins, directions).box_interval()
    root = math.sqrt(3)
    np.testing.assert_allclose(near[[0, 1, 2, 3, 5]], [2, 0, 0, 0, 2 * root], atol=1e-5)
    np.testing.assert_allclose(far[[0, 1, 2, 3, 5]], [4, 0, 1, 0, 4 * root], atol=1e-5)
    assert torch.isfinite(far - near).all(), "a ray inside a face is either in or out, never NaN"


def test_framing_distance_fills_the_picture_with_the_sphere():
    distance = framing_distance(FOV, 0.9)
    # The tangent ray of a sphere makes the angle asin(r / d) with the axis.
    assert math.asin(0.9 / distance) == pytest.approx(FOV / 2)
