"""Views as input of an encoder, against a sphere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from tests.data.make import sphere_sample

from fieldforge.autoencoder.view_patches import seen_points
from fieldforge.data.shape_transforms import Augment, Surface, Views
from fieldforge.data.transforms import apply_transforms
from fieldforge.domains.shape import ShapeDomain
from fieldforge.errors import UserError
from fieldforge.rendering.mesh_views import Light

RADIUS = 0.5


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    return sphere_sample("a", RADIUS, points=200, pixels=24, views=4)


def shown(fields: dict[str, Any]) -> np.ndarray:
    """What the pixels show (V, H, W, 3)."""
    names = ("view_depth", "view_cameras", "fov_y")
    return seen_points(*(torch.from_numpy(np.asarray(fields[name]))[None] for name in names))[1][0].numpy()


def test_pixels_with_depth_show_points_of_the_surface(sample: dict) -> None:
    views = Views(3)(sample, np.random.default_rng(0))
    assert views["view_rgba"].shape == (3, 24, 24, 4)
    assert views["view_rgba"].max() == 1
    assert views["view_cameras"].shape == (3, 4, 4)
    assert len(np.unique(views["view_cameras"], axis=0)) == 3
    hit = views["view_depth"] > 0
    assert 0.05 < hit.mean() < 0.9
    np.testing.assert_allclose(np.linalg.norm(shown(views)[hit], axis=-1), RADIUS, atol=2e-3)


def test_a_turned_or_mirrored_sample_has_cameras_that_see_it_so(sample: dict) -> None:
    transforms = [Surface(50), Views(4)]
    mirrored = 0
    for seed in range(8):
        plain = apply_transforms(sample, transforms, np.random.default_rng(seed))
        moved = apply_transforms(sample, [*transforms, Augment(12, mirror=True)], np.random.default_rng(seed))
        motion, *_ = np.linalg.lstsq(plain["input"][:, :3], moved["input"][:, :3], rcond=None)
        expected, pictures = shown(plain) @ motion, plain["view_rgba"]
        if np.linalg.det(motion) < 0:
            mirrored += 1
            expected, pictures = expected[:, :, ::-1], pictures[:, :, ::-1]
        hit = moved["view_depth"] > 0
        np.testing.assert_allclose(shown(moved)[hit], expected[hit], atol=1e-3)
        np.testing.assert_array_equal(moved["view_rgba"], pictures)
        np.testing.assert_allclose(np.linalg.det(moved["view_cameras"][:, :3, :3]), 1, atol=1e-5)  # right-handed
    assert 0 < mirrored < 8


def test_the_first_points_may_be_spread_and_the_rest_stays_random(sample: dict) -> None:
    plain, spread = (Surface(150, count)(sample, np.random.default_rng(0))["input"] for count in (0, 12))
    assert len(np.unique(spread, axis=0)) == len(np.unique(plain, axis=0))
    np.testing.assert_array_equal(np.sort(spread, axis=0), np.sort(plain, axis=0))
    taken = [0]
    for _ in range(11):
        apart = np.linalg.norm(plain[:, None, :3] - plain[taken, :3], axis=-1).min(1)
        taken.append(int(apart.argmax()))
    np.testing.assert_array_equal(spread[:12], plain[taken])
    rest = np.delete(plain, taken, axis=0)
    np.testing.assert_array_equal(spread[12:], rest)
    assert ShapeDomain(spread_points=12).determining() == {"points": 4096, "spread": 12}


def test_a_mesh_file_is_seen_in_the_light_of_the_domain(tmp_path: Path) -> None:
    trimesh.creation.box((1, 1, 1)).export(tmp_path / "cube.ply")
    light = Light()
    unlit, lit = (
        ShapeDomain(points=20, encoded_views=4, view_size=16, view_light=each).read_file(tmp_path / "cube.ply", 0)
        for each in (None, light)
    )
    np.testing.assert_array_equal(lit["view_depth"], unlit["view_depth"])
    hit = unlit["view_rgba"][..., 3] == 1
    assert hit.float().mean() > 0.1
    share = (lit["view_rgba"][..., :3] / unlit["view_rgba"][..., :3])[hit]
    sides = torch.tensor([light.ambient + light.diffuse * abs(along) for along in light.direction])
    assert (share[..., None] - sides).abs().amin(-1).max() < 0.01
    assert len(share[:, 0].mul(50).round().unique()) == 3


def test_too_few_stored_views_are_named(sample: dict) -> None:
    with pytest.raises(UserError, match="5 views of each shape are encoded, and a shape has 4"):
        Views(5)(sample, np.random.default_rng(0))


def test_a_domain_gives_views_where_they_are_set_and_its_identity_says_so(sample: dict) -> None:
    plain, seeing = ShapeDomain(points=20), ShapeDomain(points=20, encoded_views=2)
    assert plain.determining() == {"points": 20}  # as before there were views
    assert seeing.determining() == {"points": 20, "views": 2}
    for stored in (sample, seeing.example()):
        fields = apply_transforms(stored, seeing.input_transforms(), np.random.default_rng(0))
        assert fields["view_rgba"].shape[0] == 2
        assert set(fields) - {"input"} == {"view_rgba", "view_depth", "view_cameras", "fov_y"}
    assert set(apply_transforms(sample, plain.input_transforms(), np.random.default_rng(0))) == {"input"}
