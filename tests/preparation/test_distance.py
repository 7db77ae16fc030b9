"""Signed distance and exposure against shapes whose answer is known."""

import numpy as np
import pytest
from tests.preparation.make import box, box_distance, sheet, sphere

from fieldforge.geometry.mesh import Mesh, concatenate
from fieldforge.geometry.sampling import fibonacci_directions, sample_surface
from fieldforge.preparation.asset import oriented_normals
from fieldforge.preparation.clean import remove_misleading_faces
from fieldforge.preparation.distance import ESCAPE_DIRECTIONS, Caster, escape_counts, exposed_sides, signed_distance

EPSILON = 0.006


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (2000, 3)).astype(np.float32)


def flipped(mesh: Mesh, faces: np.ndarray) -> Mesh:
    turned = mesh.faces.copy()
    turned[faces] = turned[faces][:, ::-1]
    return Mesh(mesh.vertices, turned)


def test_sphere(points: np.ndarray):
    # The chords of this icosphere lie at most 4e-4 below the sphere.
    expected = np.linalg.norm(points, axis=1) - 0.7
    np.testing.assert_allclose(signed_distance(Caster(sphere(0.7)), points, 0.0), expected, atol=5e-4)


def test_cube_is_exact_and_lowered_by_epsilon(points: np.ndarray):
    result = signed_distance(Caster(box(1.2)), points, EPSILON)
    np.testing.assert_allclose(result, box_distance(points, 0.6) - EPSILON, atol=1e-6)


def test_orientation_of_faces_does_not_matter(points: np.ndarray):
    for turned in (np.arange(12), np.arange(0, 12, 2)):
        result = signed_distance(Caster(flipped(box(1.2), turned)), points, 0.0)
        np.testing.assert_allclose(result, box_distance(points, 0.6), atol=1e-6)


def test_double_sided_faces_do_not_cancel(points: np.ndarray):
    cube = box(1.2)
    doubled = concatenate([cube, flipped(cube, np.arange(12))])
    cleaned = remove_misleading_faces(doubled)
    assert len(cleaned.faces) == 12
    result = signed_distance(Caster(cleaned), points, 0.0)
    np.testing.assert_allclose(result, box_distance(points, 0.6), atol=1e-6)


def test_open_sheet_becomes_a_slab():
    z = np.linspace(-0.3, 0.3, 61)
    points = np.stack([np.full_like(z, 0.1), np.full_like(z, 0.2), z], axis=1)
    result = signed_distance(Caster(sheet()), points.astype(np.float32), EPSILON)
    np.testing.assert_allclose(result, np.abs(z) - EPSILON, atol=1e-6)
    assert (result < 0).sum() == (np.abs(z) < EPSILON).sum() > 0


def test_a_hole_does_not_turn_the_inside_out(points: np.ndarray):
    ball = sphere(0.8, subdivisions=3)
    hole = ball.triangles.mean(axis=1)[:, 1] > 0.75  # a cap of 5 % of the directions
    assert 10 < hole.sum() < 0.1 * len(hole)
    open_ball = ball.select_faces(~hole)
    result = signed_distance(Caster(open_ball), points, 0.0)
    radius = np.linalg.norm(points, axis=1)
    away_from_hole = points[:, 1] < 0.5
    assert (result[away_from_hole & (radius < 0.75)] < 0).all()
    assert (result[away_from_hole & (radius > 0.82)] > 0).all()


def test_a_half_open_bowl_stays_open():
    ball = sphere(0.8, subdivisions=4)
    bowl = ball.select_faces(ball.triangles.mean(axis=1)[:, 1] < 0)
    heights = np.linspace(-0.2, 0.6, 9)  # deeper down the bowl counts as filled: less than 35 % of the rays escape
    points = np.stack([0 * heights, heights, 0 * heights], axis=1)
    assert (signed_distance(Caster(bowl), points, EPSILON) > 0).all()


def test_a_closed_hollow_is_solid(points: np.ndarray):
    hollow = concatenate([box(1.6), flipped(box(1.0), np.arange(12))])
    result = signed_distance(Caster(hollow), points, 0.0)
    inside_the_hollow = box_distance(points, 0.5) < 0
    assert (result[inside_the_hollow] < 0).all()
    to_surface = np.minimum(np.abs(box_distance(points, 0.5)), np.abs(box_distance(points, 0.8)))
    np.testing.assert_allclose(np.abs(result), to_surface, atol=1e-6)


def test_early_stop_counts_the_same_as_all_directions(points: np.ndarray):
    ball = sphere(0.8, subdivisions=2)
    caster = Caster(ball.select_faces(ball.triangles.mean(axis=1)[:, 1] < 0.3))
    some = points[:300]
    all_rays = np.zeros(len(some), int)
    for direction in fibonacci_directions(ESCAPE_DIRECTIONS):
        all_rays += ~caster.blocked(some, np.tile(direction, (len(some), 1)))
    result = escape_counts(caster, some, enough=23)
    np.testing.assert_array_equal(result >= 23, all_rays >= 23)
    np.testing.assert_array_equal(result[all_rays < 23], all_rays[all_rays < 23])


def test_a_box_inside_a_closed_box_is_not_exposed():
    nested = concatenate([box(1.6), box(0.8)])
    surface = sample_surface(nested, 500, np.random.default_rng(0))
    front, back = exposed_sides(Caster(nested), surface.points, surface.normals)
    inner = surface.faces >= 12
    np.testing.assert_array_equal(front, ~inner)
    assert not back.any()


def test_both_sides_of_a_sheet_are_exposed():
    surface = sample_surface(sheet(), 50, np.random.default_rng(0))
    front, back = exposed_sides(Caster(sheet()), surface.points, surface.normals)
    assert front.all()
    assert back.all()


def test_normals_are_turned_to_the_side_that_is_seen():
    inside_out = flipped(box(1.2), np.arange(0, 12, 2))
    surface = sample_surface(inside_out, 200, np.random.default_rng(0))
    normals, exposed = oriented_normals(Caster(inside_out), surface)
    assert exposed.all()
    outward = surface.points * (np.abs(surface.points) > 0.6 - 1e-9)
    np.testing.assert_allclose(normals, np.sign(outward), atol=1e-6)
