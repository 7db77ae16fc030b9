"""Fewer faces and textures, against balls whose surface and colours are known."""

import numpy as np
import pytest
import torch
from tests.geometry.finished import RADIUS, ball, mesh_psnr, rgb, surface_points

from fieldforge.geometry.colored_mesh import ColoredMesh, is_closed
from fieldforge.geometry.field_colors import query_colors
from fieldforge.geometry.finishing import finish
from fieldforge.geometry.isosurface import extract_mesh
from fieldforge.geometry.simplification import simplify
from fieldforge.geometry.texture_atlas import texels, unwrap
from fieldforge.geometry.textured_mesh import TexturedMesh, bake


@pytest.fixture(scope="module")
def simple() -> ColoredMesh:
    return finish(ball(), rgb, faces=600)


def test_a_simplified_ball_is_near_the_ball_closed_and_has_the_fields_colours(simple):
    assert 590 <= len(simple.faces) <= 600
    assert is_closed(simple.faces)
    _, _, points = surface_points(simple, 5000)
    assert np.abs(np.linalg.norm(points, axis=1) - RADIUS).mean() < 0.005, "of a sphere of 600 faces"
    np.testing.assert_array_equal(simple.colors, query_colors(rgb, simple.vertices))
    assert (np.einsum("pd,pd->p", simple.normals, simple.vertices) > 0.98 * RADIUS).all(), "normals point outward"


@pytest.mark.parametrize("keep_apart", [False, True])
def test_many_pieces_that_nearly_touch_stay_closed(keep_apart):
    pieces = extract_mesh(lambda points: torch.sin(9 * points).prod(dim=-1) + 0.05, rgb, 32)
    vertices, faces = simplify(pieces.vertices, pieces.faces, 2000, keep_apart)
    assert len(faces) <= 2000 < len(pieces.faces)
    assert is_closed(faces)
    assert len(np.unique(faces)) == len(vertices)


def crossings(mesh: ColoredMesh) -> int:
    """Pairs of an edge and a face that it runs through (Möller and Trumbore 1997)."""
    a, b, c = mesh.vertices[mesh.faces].astype(np.float64).swapaxes(0, 1)[:, None]  # (1, F, 3) each
    edges = np.unique(np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    start, end = mesh.vertices[edges].astype(np.float64).swapaxes(0, 1)[:, :, None]  # (E, 1, 3) each
    way = end - start
    p = np.cross(way, c - a)
    determinant = ((b - a) * p).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):  # of an edge in the plane of a face
        u = ((start - a) * p).sum(-1) / determinant
        q = np.cross(start - a, b - a)
        v, t = (way * q).sum(-1) / determinant, ((c - a) * q).sum(-1) / determinant
        least = np.min([u, v, 1 - u - v, t, 1 - t], axis=0)
    return int((least > 1e-9).sum())  # an edge meets the faces at its ends without running through them


def test_faces_of_a_watertight_mesh_do_not_cut_through_each_other():
    hollow = extract_mesh(lambda points: (points.norm(dim=-1) - RADIUS).abs() - 0.04, rgb, 32)
    assert crossings(finish(hollow, rgb, faces=60)) > 0
    thick = finish(hollow, rgb, faces=60, watertight=True)
    assert crossings(thick) == 0
    assert is_closed(thick.faces)


def test_a_mesh_with_few_faces_stays_and_a_piece_keeps_four():
    two = extract_mesh(lambda points: (points.abs() - 0.5).norm(dim=-1) - 0.2, rgb, 16)  # eight balls
    assert finish(two, rgb, faces=len(two.faces)) is two
    assert len(finish(two, rgb, faces=4).faces) == 8 * 4


def test_closed_is_what_has_neither_border_nor_turned_face():
    faces = ball(8).faces
    assert is_closed(faces)
    assert is_closed(faces[:, ::-1])
    assert not is_closed(faces[1:])
    assert not is_closed(np.concatenate([faces[1:], faces[:1, ::-1]]))
    assert not is_closed(np.concatenate([faces, faces])), "edges with four faces"


def test_charts_lie_in_the_texture_and_do_not_overlap(simple):
    size = 512
    uv = unwrap(simple.vertices, simple.faces, size)
    assert uv.min() >= 0
    assert uv.max() <= 1
    a, b, c = (uv.astype(np.float64) * size).swapaxes(0, 1)
    areas = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2  # texels
    shown = texels(uv, size)
    assert len(shown.faces) == pytest.approx(areas.sum(), rel=0.005), "an overlap shows fewer texels than areas hold"
    assert areas.sum() > 0.4 * size**2, "most of the texture is used"
    assert (areas > 0).all(), "each face has its place"


def test_texels_show_the_points_that_their_coordinates_say():
    uv = np.array([[[0, 0], [1, 0], [0, 1]], [[1, 1], [0, 1], [1, 0]]], np.float32)  # the lower left half, the other
    shown = texels(uv, 4)
    assert shown.nearest.max() == 15, "every texel is some face's"
    faces, weights = shown.faces[shown.nearest], shown.weights[shown.nearest]
    assert faces[3, 0] == 0, "row 0 is on top: v is 1 there"
    assert faces[0, 3] == 1
    np.testing.assert_allclose(weights[3, 0], [0.75, 0.125, 0.125])
    np.testing.assert_allclose(weights[0, 3], [0.75, 0.125, 0.125])


def test_texels_without_a_face_repeat_the_nearest_one():
    uv = np.array([[[0, 0], [0.5, 0], [0, 0.5]]], np.float32)
    shown = texels(uv, 8)
    assert shown.nearest[7, 0] == shown.nearest[6:, :1].max()  # itself, the last in order of rows
    assert shown.nearest[7, 7] in np.flatnonzero(shown.weights[:, 1] > 0.8), "from the right corner"
    assert shown.nearest[0, 0] in np.flatnonzero(shown.weights[:, 2] > 0.8), "from the upper one"


def test_a_texture_has_the_fields_colours_where_vertices_do_not(simple):
    textured = bake(simple, rgb, 512)
    assert isinstance(textured, TexturedMesh)
    assert textured.texture.shape == (512, 512, 3)
    assert mesh_psnr(simple) < 35
    assert mesh_psnr(textured) > 50
    assert mesh_psnr(bake(simple, rgb, 64)) > mesh_psnr(simple), "even of few texels"


def test_no_texel_has_a_colour_that_the_field_has_not(simple):
    shade = torch.tensor([0.2, 0.4, 0.6])
    texture = bake(simple, lambda points: shade.expand_as(points), 128).texture
    np.testing.assert_array_equal(np.unique(texture.reshape(-1, 3), axis=0), [[51, 102, 153]])


def test_vertices_split_at_seams_are_the_mesh(simple):
    textured = bake(simple, rgb, 64)
    origin, uv, faces = textured.split_at_seams()
    np.testing.assert_array_equal(origin[faces], textured.faces)
    np.testing.assert_array_equal(uv[faces], textured.corner_uv)
    assert len(simple.vertices) < len(origin) < 2 * len(simple.vertices)


def test_a_size_is_that_of_the_longest_side_in_metres_and_nothing_stays_nothing():
    oval = extract_mesh(lambda points: (points * torch.tensor([2, 1, 2])).norm(dim=-1) - 0.8, rgb, 16)
    extent = np.ptp(finish(oval, rgb, size_cm=50).vertices, axis=0)
    np.testing.assert_allclose(extent, [0.25, 0.5, 0.25], rtol=0.05)
    assert extent.max() == pytest.approx(0.5)
    assert finish(ColoredMesh.empty(), rgb, faces=10, texture=64, watertight=True, size_cm=10).is_empty
