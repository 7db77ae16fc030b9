"""Light on views: normals against a sphere and a plane, brightness against Lambert's law."""

import math

import numpy as np
import pytest
import torch

from fieldforge.conditioning import relight as module
from fieldforge.conditioning.relight import normals_of_depth, relight
from fieldforge.geometry.camera import Camera, look_at
from fieldforge.geometry.color import srgb_to_linear

SIZE, FOV = 96, math.radians(40)


@pytest.fixture
def sphere() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth (H, W) of a sphere of radius 0.8, the pose it is seen from, and its true normals, NaN beside it."""
    pose = look_at(torch.tensor([1.5, 1.0, 2.5], dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    rays = Camera(pose, FOV, SIZE, SIZE).rays()
    origin, direction = rays.origins.numpy(), rays.directions.numpy()
    middle = -(origin * direction).sum(-1)
    root = middle**2 - (origin**2).sum(-1) + 0.8**2
    depth = np.where(root > 0, middle - np.sqrt(np.maximum(root, 0)), 0.0)
    normals = np.where((root > 0)[..., None], (origin + direction * depth[..., None]) / 0.8, np.nan)
    return depth, pose.numpy(), normals


def inside(normals: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Pixels away from the silhouette, whose neighbours are on the sphere too."""
    return (normals * -directions).sum(-1) > 0.3


def test_normals_of_a_sphere(sphere):
    depth, pose, truth = sphere
    result = normals_of_depth(depth, pose, FOV)
    directions = Camera(torch.from_numpy(pose), FOV, SIZE, SIZE).rays().directions.numpy()
    seen = inside(truth, directions)
    assert seen.sum() > 1000
    assert (result * truth).sum(-1)[seen].min() > math.cos(math.radians(2))


class Fixed:
    """A generator whose lamp, ambient light, exposure and strength are given."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def uniform(self, *bounds):
        return self.draws.pop(0)


def test_brightness_is_lamberts(sphere):
    depth, pose, truth = sphere
    pixels = np.full((SIZE, SIZE, 4), (200, 120, 60, 255), np.uint8)
    lit = relight(pixels, depth, pose, FOV, Fixed(np.array([0.0, 0.6, 0.8]), 0.5, 0.9, 1.0))
    lamp = pose[:3, :3] @ np.array([0.0, 0.6, 0.8])
    directions = Camera(torch.from_numpy(pose), FOV, SIZE, SIZE).rays().directions.numpy()
    seen = inside(truth, directions)
    expected = 0.9 * (0.5 + 0.6 * np.clip(truth[seen] @ lamp, 0, None))
    result = srgb_to_linear(lit[seen][:, 0] / 255) / srgb_to_linear(np.array(200 / 255))
    assert np.abs(result - np.minimum(expected, 1 / srgb_to_linear(np.array(200 / 255)))).max() < 0.03
    assert np.array_equal(lit[..., 3], pixels[..., 3])


def test_without_strength_or_exposure_nothing_changes(sphere):
    depth, pose, _ = sphere
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 4), dtype=np.uint8)
    same = relight(pixels, depth, pose, FOV, Fixed(np.array([0.0, 0.6, 0.8]), 0.5, 1.0, 0.0))
    assert np.array_equal(same, pixels)


def test_lights_differ_and_come_from_the_generator(sphere):
    depth, pose, _ = sphere
    pixels = np.full((SIZE, SIZE, 4), 128, np.uint8)
    many = [relight(pixels, depth, pose, FOV, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(many[0], many[1])
    assert not np.array_equal(many[0], many[2])
    assert module.AMBIENT[0] > 0, "no picture is black"
