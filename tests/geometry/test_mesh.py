"""Areas, normals and colours of meshes against values worked out by hand."""

import numpy as np
import pytest

from fieldforge.geometry.mesh import Material, Mesh, Wrap, concatenate, sample_texture

CORNERS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float64)
PICTURE = np.array(
    [[[255, 0, 0, 255], [0, 255, 0, 255]], [[0, 0, 255, 255], [255, 255, 255, 0]]], np.uint8
)  # red green / blue white


def triangle(**changes: object) -> Mesh:
    vertices = np.array([[0, 0, 0], [2, 0, 0], [0, 1, 0], [9, 9, 9]], np.float64)
    return Mesh(vertices, np.array([[0, 1, 2]]), **changes)  # type: ignore[arg-type]


def test_area_normal_and_bounds_of_the_used_vertices():
    mesh = triangle()
    np.testing.assert_allclose(mesh.face_areas, [1.0])
    np.testing.assert_allclose(mesh.face_normals, [[0, 0, 1]])
    np.testing.assert_allclose(mesh.bounds, [[0, 0, 0], [2, 1, 0]])


def test_texture_centres_are_exact_and_v_points_up():
    uv = np.array([[0.25, 0.75], [0.75, 0.75], [0.25, 0.25], [0.75, 0.25]])
    np.testing.assert_allclose(sample_texture(PICTURE, uv), PICTURE.reshape(4, 4) / 255)


def test_texture_is_bilinear_and_repeats():
    between_red_and_green = sample_texture(PICTURE, np.array([[0.5, 0.75], [0.0, 0.75], [1.0, -0.25], [-7.5, 3.75]]))
    np.testing.assert_allclose(between_red_and_green, np.tile([[0.5, 0.5, 0, 1]], (4, 1)), atol=1e-6)


def test_texture_replaces_the_material_colour_but_not_on_faces_without_coordinates():
    whole = [[0.25, 0.75], [0.75, 0.75], [0.75, 0.25]]
    uv = np.array([whole, [*whole[:2], [np.nan, 0.25]]], np.float32)
    material = Material((0.1, 0.2, 0.3, 1), PICTURE, (1, 1, 1, 0.5))
    mesh = Mesh(triangle().vertices, np.array([[0, 1, 2], [0, 1, 2]]), (material,), None, uv)
    colors = mesh.color_at(np.array([0, 0, 1, 1]), CORNERS[[0, 1, 0, 1]])
    plain = [0.1, 0.2, 0.3, 1]
    np.testing.assert_allclose(colors, [[1, 0, 0, 0.5], [0, 1, 0, 0.5], plain, plain], atol=1e-6)


def test_vertex_colours_are_interpolated_and_multiply_the_material():
    colors = np.array([[[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0]]], np.float32)
    mesh = triangle(materials=(Material((1, 0.5, 1, 1)),), corner_colors=colors)
    np.testing.assert_allclose(
        mesh.color_at(np.zeros(1, np.int64), np.array([[0.5, 0.25, 0.25]])), [[0.5, 0.125, 0.25, 0.75]]
    )
    np.testing.assert_allclose(mesh.face_alpha(), [2 / 3])


def test_concatenated_parts_keep_their_looks():
    plain = triangle(materials=(Material((0.1, 0.2, 0.3, 1)),))
    textured = triangle(materials=(Material(texture=PICTURE),), corner_uv=np.array([[[0.25, 0.75]] * 3], np.float32))
    colored = triangle(materials=(Material((1, 1, 1, 1)),), corner_colors=np.tile(np.float32([0, 1, 1, 1]), (1, 3, 1)))
    whole = concatenate([plain, textured, colored])
    assert len(whole.vertices) == 12
    np.testing.assert_allclose(whole.face_areas, [1, 1, 1])
    middle = np.full((3, 3), 1 / 3)
    np.testing.assert_allclose(
        whole.color_at(np.arange(3), middle), [[0.1, 0.2, 0.3, 1], [1, 0, 0, 1], [0, 1, 1, 1]], atol=1e-6
    )


def test_selected_faces_keep_their_own_material():
    whole = concatenate([triangle(materials=(Material((x, 0, 0, 1)),)) for x in (0.1, 0.2, 0.3)])
    kept = whole.select_faces(np.array([False, False, True]))
    np.testing.assert_allclose(kept.color_at(np.zeros(1, np.int64), CORNERS[:1]), [[0.3, 0, 0, 1]], atol=1e-6)


def test_wrong_shapes_are_refused():
    with pytest.raises(AssertionError, match="vertices are"):
        Mesh(np.zeros((3, 2)), np.array([[0, 1, 2]]))
    with pytest.raises(AssertionError, match="faces are"):
        Mesh(np.zeros((3, 3)), np.array([[0, 1, 2, 0]]))


@pytest.mark.parametrize(
    ("wrap", "expected"),
    [("repeat", [2, 1, 2, 1]), ("clamp", [1, 2, 2, 2]), ("mirror", [1, 2, 1, 1])],
)
def test_beyond_its_border_a_texture_goes_on_as_its_material_says(wrap: Wrap, expected: list[int]):
    texture = np.zeros((1, 2, 4), np.uint8)
    texture[0, :, 0] = 1, 2
    u = np.array([-0.25, 1.25, 1.75, 2.25])
    for uv, columns in ((np.stack([u, u * 0], 1), texture), (np.stack([u * 0, 1 - u], 1), texture.swapaxes(0, 1))):
        colors = sample_texture(columns, uv, (wrap, wrap))[:, 0] * 255
        np.testing.assert_allclose(colors, expected, atol=1e-5)


def test_products_in_linear_light():
    """Half of the light of white is 188 of 255 in sRGB; a quarter is 137."""
    uv = np.array([[[0.75, 0.25]] * 3], np.float32)  # white
    half = np.full((1, 3, 4), [0.5, 1, 0.5, 1], np.float32)
    for texture, expected in ((None, [188, 255, 188, 255]), (np.full_like(PICTURE, 255), [137, 188, 137, 128])):
        material = Material((1, 1, 1, 1), texture, (0.5, 0.5, 0.5, 0.5), linear=True)
        mesh = triangle(materials=(material,), corner_uv=uv, corner_colors=half)
        colors = mesh.color_at(np.zeros(1, np.int64), np.full((1, 3), 1 / 3))
        np.testing.assert_allclose(colors[0] * 255, expected, atol=0.6)


@pytest.mark.parametrize(("cutoff", "expected"), [(None, 0.4), (0.0, 1.0), (0.4, 1.0), (0.5, 0.0)])
def test_a_cutoff_makes_points_opaque_or_invisible(cutoff: float | None, expected: float):
    colors = np.full((1, 3, 4), [1, 1, 1, 0.5], np.float32)
    mesh = triangle(materials=(Material((1, 0, 0, 0.8), cutoff=cutoff),), corner_colors=colors)
    np.testing.assert_allclose(mesh.color_at(np.zeros(1, np.int64), CORNERS[:1]), [[1, 0, 0, expected]], atol=1e-6)
    np.testing.assert_allclose(mesh.face_alpha(), [expected], atol=1e-6)


def test_texels_with_sharp_edges():
    uv = np.array([[0.49, 0.75], [0.51, 0.75], [0.49, 0.49]])
    colors = sample_texture(PICTURE, uv, smooth=False)
    np.testing.assert_allclose(colors * 255, [PICTURE[0, 0], PICTURE[0, 1], PICTURE[1, 0]])


def test_a_material_of_many_parts_is_kept_once():
    shared, other = Material((0.1, 0, 0, 1)), Material((0.2, 0, 0, 1))
    whole = concatenate([triangle(materials=(material,)) for material in (shared, other, shared)])
    assert whole.materials == (shared, other)
    np.testing.assert_array_equal(whole.face_material, [0, 1, 0])
