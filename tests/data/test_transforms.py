"""Transforms against a sphere, on which everything is known in closed form."""

import math
from typing import Any

import numpy as np
import pytest
from tests.data.make import latent_sample, sphere_sample

from fieldforge.data.reader import LazySample
from fieldforge.data.shape_schema import DEPTH_UNIT, SAMPLE
from fieldforge.data.shape_transforms import Augment, Distances, Surface, ViewRays
from fieldforge.data.transforms import Labels, Latent, apply_transforms
from fieldforge.errors import UserError

RADIUS = 0.5


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    return sphere_sample("a", RADIUS, points=200, pixels=24, views=4)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_surface_is_on_the_sphere_with_its_normals_and_colours(sample: dict) -> None:
    surface = Surface(100)(sample, rng())["input"]
    assert surface.shape == (100, 9)
    assert surface.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(surface[:, :3], axis=1), RADIUS, atol=1e-3)
    np.testing.assert_allclose(surface[:, 3:6], surface[:, :3] / RADIUS, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(surface[:, 3:6], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(surface[:, 6:], (surface[:, 3:6] + 1) / 2, atol=0.01)


def test_surface_takes_exposed_points_only_and_none_twice_if_there_are_enough(sample: dict) -> None:
    exposed = {tuple(point) for point in sample["surface_points.npy"][sample["surface_exposed.npy"] > 0].astype("f4")}
    chosen = [tuple(point) for point in Surface(150)(sample, rng())["input"][:, :3]]
    assert len(set(chosen)) == 150 == len(exposed)
    assert set(chosen) == exposed
    assert Surface(400)(sample, rng())["input"].shape == (400, 9)  # more than there are
    hidden = {**sample, "surface_exposed.npy": np.zeros(200, np.uint8)}
    assert Surface(10)(hidden, rng())["input"].shape == (10, 9)


def test_distances_are_those_of_the_sphere(sample: dict) -> None:
    result = Distances(50, 60)(sample, rng())
    for kind, count in (("near", 50), ("volume", 60)):
        points, distances = result[f"{kind}_points"], result[f"{kind}_sdf"]
        assert points.shape == (count, 3)
        assert points.dtype == distances.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(points, axis=1) - RADIUS, distances, atol=1e-3)


@pytest.mark.parametrize("views", [1, 3, 4])
def test_rays_meet_the_sphere_where_depth_says(sample: dict, views: int) -> None:
    result = ViewRays(200, views)(sample, rng())
    origins, directions, depth = result["ray_origins"], result["ray_directions"], result["ray_depth"]
    assert {array.dtype for array in result.values()} == {np.dtype(np.float32)}
    assert len(np.unique(origins, axis=0)) == views
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-5)
    half = (origins * directions).sum(1)
    hit = half**2 - (origins**2).sum(1) + RADIUS**2 > 0
    np.testing.assert_array_equal(hit, depth > 0)
    points = origins[hit] + depth[hit, None] * directions[hit]
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), RADIUS, atol=2 * DEPTH_UNIT)
    np.testing.assert_allclose(result["ray_rgba"][hit, :3], (points / RADIUS + 1) / 2, atol=0.01)
    np.testing.assert_array_equal(result["ray_rgba"][:, 3], hit)
    assert np.all(result["ray_rgba"][~hit] == 0)


def test_colours_are_premultiplied(sample: dict) -> None:
    glass = {**sample}
    for view in range(4):
        glass[f"view_{view:03d}.png"] = np.full((24, 24, 4), (200, 100, 0, 51), np.uint8)
    rgba = ViewRays(50)(glass, rng())["ray_rgba"]
    np.testing.assert_allclose(rgba, np.tile([200 / 255 * 0.2, 100 / 255 * 0.2, 0, 0.2], (50, 1)), atol=1e-6)


def test_a_share_of_the_rays_looks_at_the_object_and_all_meet_the_box(sample: dict) -> None:
    uniform = ViewRays(2000, 4, object_share=0.0)(sample, rng())["ray_depth"] > 0
    mixed = ViewRays(2000, 4, object_share=0.8, spread=0)(sample, rng())["ray_depth"] > 0
    assert mixed.mean() == pytest.approx(0.8 + 0.2 * uniform.mean(), abs=0.03)
    result = ViewRays(2000, 4, object_share=0.0)(sample, rng(1))
    steps = np.linspace(0.5, 5, 400)[:, None, None]
    inside = np.abs(result["ray_origins"] + steps * result["ray_directions"]).max(-1) < 1.03  # (steps, R)
    assert inside.any(0).all()


def test_only_the_chosen_views_are_decoded(sample: dict) -> None:
    members = {suffix: memoryview(payload) for suffix, payload in SAMPLE.encode("a", sample).items()}
    lazy = LazySample("a", members, "here")
    apply_transforms(lazy, [ViewRays(10, views=1), Surface(5)], rng())
    decoded = set(lazy._decoded) - {"__key__"}
    assert sum(suffix.endswith(".png") for suffix in decoded) == 2  # one view and its depth
    assert "near_points.npy" not in decoded


def test_augmentation_is_one_motion_for_everything(sample: dict) -> None:
    """Moved points keep their distances, moved rays still meet the moved surface: consistent for every turn."""
    transforms = [Surface(50), Distances(40, 40), ViewRays(60, 2)]
    for turns, mirror in ((1, True), (4, True), (12, False), (5, True)):
        for seed in range(6):
            plain = apply_transforms(sample, transforms, rng(seed))
            moved = apply_transforms(sample, [*transforms, Augment(turns, mirror)], rng(seed))
            motion, *_ = np.linalg.lstsq(plain["input"][:, :3], moved["input"][:, :3], rcond=None)
            scale = np.cbrt(abs(np.linalg.det(motion)))
            np.testing.assert_allclose(motion @ motion.T, np.eye(3) * scale**2, atol=1e-4)
            np.testing.assert_allclose(motion[1], [0, scale, 0], atol=1e-4)  # about y
            assert math.sqrt(0.5) - 1e-4 <= scale <= 1 + 1e-4
            assert np.abs(moved["volume_points"]).max() <= 1 + 1e-6
            for name in ("near_points", "volume_points", "ray_origins"):
                np.testing.assert_allclose(moved[name], plain[name] @ motion, atol=1e-4)
            for name in ("near_sdf", "volume_sdf", "ray_depth"):
                np.testing.assert_allclose(moved[name], plain[name] * scale, atol=1e-5)
            np.testing.assert_allclose(moved["ray_directions"], plain["ray_directions"] @ motion / scale, atol=1e-4)
            np.testing.assert_allclose(moved["input"][:, 3:6], plain["input"][:, 3:6] @ motion / scale, atol=1e-4)
            np.testing.assert_array_equal(moved["input"][:, 6:], plain["input"][:, 6:])
            np.testing.assert_array_equal(moved["ray_rgba"], plain["ray_rgba"])


def test_quarter_turns_and_mirror_images_all_come(sample: dict) -> None:
    point = {"near_points": np.array([[3, 2, 1]], np.float32)}
    result = {tuple(Augment(4, True)(point, rng(seed))["near_points"][0].tolist()) for seed in range(80)}
    turned = {(3, 1), (1, -3), (-3, -1), (-1, 3)}
    assert result == {(sign * x, 2, z) for x, z in turned for sign in (1, -1)}  # without rounding


def test_arguments_are_left_alone(sample: dict) -> None:
    before = {name: np.copy(value) for name, value in sample.items() if isinstance(value, np.ndarray)}
    apply_transforms(sample, [Surface(50), Distances(9, 9), ViewRays(60, 2), Augment(5, True), Labels()], rng())
    for name, value in before.items():
        np.testing.assert_array_equal(sample[name], value)


def test_captions_are_drawn_from_the_sample() -> None:
    sample = latent_sample("7")
    result = {Labels()(sample, rng(seed))["caption"] for seed in range(20)}
    assert result == set(sample["meta.json"]["captions"])
    result = apply_transforms(sample, [Latent(), Labels()], rng())
    assert result["class"] == "seating"
    np.testing.assert_array_equal(result["latent"], np.full((2, 3), 7, np.float32))


def test_languages_that_a_sample_lacks_are_left_out() -> None:
    meta = {"captions": ["a chair"], "captions_by_language": {"de": "ein Stuhl"}, "class": "seating"}
    assert Labels(["de", "ja"])({"meta.json": meta}, rng())["caption"] == "ein Stuhl"
    assert Labels(["ja"])({"meta.json": meta}, rng())["caption"] == "a chair"
    with pytest.raises(UserError, match="at least one language"):
        Labels([])


@pytest.mark.parametrize("options", [{"object_share": 1.5}, {"views": 0}, {"views": 20}])
def test_impossible_rays_are_refused(options: dict) -> None:
    with pytest.raises(UserError, match="rays=10"):
        ViewRays(10, **options)
