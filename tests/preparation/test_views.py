"""Pictures and depth against the ray-sphere equation and blending by hand."""

import math

import numpy as np
import pytest
import torch
from tests.preparation.make import box, sheet, sphere

from fieldforge.errors import UserError
from fieldforge.geometry.camera import Camera, look_at
from fieldforge.geometry.mesh import Material, concatenate
from fieldforge.preparation.distance import Caster
from fieldforge.preparation.settings import ViewSettings
from fieldforge.preparation.views import camera_distance, render_view
from fieldforge.rendering.mesh_views import Light

FOV = math.radians(40)
FRONT = look_at(torch.tensor([0.0, 0.0, 4.0]))


def plain(r: float, g: float, b: float, a: float = 1.0) -> Material:
    return Material((r, g, b, a))


def test_depth_and_coverage_of_a_sphere():
    pose = look_at(torch.tensor([2.0, 1.5, -2.5]))
    view = render_view(Caster(sphere(0.9)), pose, 64, FOV, shading=0.0)
    rays = Camera(pose.double(), FOV, 64, 64).rays()
    origin, direction = rays.origins.numpy(), rays.directions.numpy()
    half = (origin * direction).sum(-1)
    discriminant = half**2 - (origin**2).sum(-1) + 0.9**2
    expected = np.where(discriminant > 0, -half - np.sqrt(np.maximum(discriminant, 0)), 0)
    clear = np.abs(discriminant) > 0.02  # at the rim, chords of the icosphere decide
    np.testing.assert_array_equal((view.depth > 0)[clear], (discriminant > 0)[clear])
    np.testing.assert_allclose(view.depth[clear], expected[clear], atol=3e-3)
    np.testing.assert_array_equal(view.rgba[..., 3], np.where(view.depth > 0, 255, 0))
    np.testing.assert_array_equal(view.camera_to_world, pose.numpy())


def test_a_texture_seen_from_the_front_is_upright_and_exact():
    picture = np.random.default_rng(0).integers(0, 256, (4, 4, 4), np.uint8)
    picture[..., 3] = 255
    seen = Caster(sheet(side=4 * math.tan(FOV / 2), material=Material(texture=picture), uv=True))
    view = render_view(seen, FRONT, 4, FOV, shading=0.0)  # each pixel centre falls on a texel centre
    np.testing.assert_array_equal(view.rgba, picture)


def test_translucent_layers_are_blended_and_depth_is_the_first():
    glass, wall = sheet(z=0.5, material=plain(1, 0, 0, 0.25)), sheet(z=-0.5, material=plain(0, 0, 1))
    view = render_view(Caster(concatenate([wall, glass])), FRONT, 9, FOV, shading=0.0)
    np.testing.assert_array_equal(view.rgba[4, 4], [64, 0, 191, 255])
    np.testing.assert_allclose(view.depth[4, 4], 3.5, atol=1e-5)


def test_glass_alone_is_stored_with_straight_alpha():
    view = render_view(Caster(sheet(material=plain(0, 1, 0, 0.4))), FRONT, 9, FOV, shading=0.0)
    np.testing.assert_array_equal(view.rgba[4, 4], [0, 255, 0, 102])
    np.testing.assert_array_equal(view.rgba[0, 0], [0, 0, 0, 0])


def test_shading_darkens_what_turns_away_from_the_light():
    cube = Caster(box(1.0))
    above = look_at(torch.tensor([0.0, 4.0, 0.01]))
    below = look_at(torch.tensor([0.0, -4.0, 0.01]))
    lit, dark = (int(render_view(cube, pose, 9, FOV, shading=1.0).rgba[4, 4, 0]) for pose in (above, below))
    unlit = int(render_view(cube, above, 9, FOV, shading=0.0).rgba[4, 4, 0])
    assert dark < lit < unlit == round(0.8 * 255)


def test_a_light_falls_on_both_sides_and_takes_the_place_of_the_shading():
    cube, light = Caster(box(1.0)), Light()
    above, below = (look_at(torch.tensor([0.0, height, 0.01])) for height in (4.0, -4.0))
    seen = [int(render_view(cube, pose, 9, FOV, 0.0, light).rgba[4, 4, 0]) for pose in (above, below)]
    assert seen == [round(0.8 * 255 * (0.3 + 0.7 * 0.7630))] * 2
    with pytest.raises(UserError, match="a light and shading="):
        ViewSettings(2, 16, 40, 0.5, light)


def test_the_whole_asset_is_in_view_and_fills_it():
    cube = box(1.8)
    distance = camera_distance(cube, FOV)
    corner = torch.tensor([1.0, 1.0, 1.0]) / math.sqrt(3) * distance
    for eye in (corner, torch.tensor([0.0, 0.0, distance])):
        alpha = render_view(Caster(cube), look_at(eye), 64, FOV, shading=0.0).rgba[..., 3]
        rim = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert not rim.any()
        assert (alpha > 0).mean() > 0.3
