"""Normalisation and cleaning."""

import numpy as np
import pytest
from tests.preparation.make import box, sheet

from fieldforge.geometry.mesh import Material, Mesh, concatenate
from fieldforge.preparation.clean import check_mesh, normalise, remove_invisible_faces, remove_misleading_faces
from fieldforge.readers.file_store import AssetError


def moved(mesh: Mesh, scale: float, by: list[float]) -> Mesh:
    return mesh.with_vertices(mesh.vertices * scale + np.array(by))


def test_the_longest_side_fills_the_box_and_the_way_back_is_stored():
    mesh = box(2.0).with_vertices(box(2.0).vertices * [3, 1, 0.5] + [10, 20, 30])
    normalised = normalise(mesh, 0.005)
    np.testing.assert_allclose(normalised.mesh.bounds, [[-0.9, -0.3, -0.15], [0.9, 0.3, 0.15]])
    back = normalised.mesh.vertices / normalised.scale + normalised.center
    np.testing.assert_allclose(back, mesh.vertices)


def test_vertices_that_no_face_uses_do_not_count():
    mesh = box(2.0)
    with_stray = Mesh(np.concatenate([mesh.vertices, [[1e6, np.nan, 0]]]), mesh.faces)
    check_mesh(with_stray, 100)
    np.testing.assert_allclose(normalise(with_stray, 0.005).mesh.bounds, [[-0.9] * 3, [0.9] * 3])


def test_invisible_faces_go_and_translucent_ones_stay():
    ghost, glass = sheet(material=Material((1, 1, 1, 0.01))), sheet(material=Material((1, 1, 1, 0.1)))
    assert len(remove_invisible_faces(concatenate([ghost, glass])).faces) == 2
    with pytest.raises(AssetError, match="transparent"):
        remove_invisible_faces(ghost)


def test_duplicates_and_faces_without_area_go_whatever_their_corners_order():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1e-7], [0.5, 0, 0]], np.float64)
    faces = np.array([[0, 1, 2], [2, 1, 0], [1, 2, 3], [0, 4, 1], [1, 1, 2]])  # corner 3 is welded to corner 0
    materials = (Material((1, 0, 0, 1)), Material())
    mesh = Mesh(vertices, faces, materials, np.array([0, 1, 1, 1, 1]))
    cleaned = remove_misleading_faces(mesh)
    assert len(cleaned.faces) == 1
    np.testing.assert_allclose(cleaned.color_at(np.array([0]), np.full((1, 3), 1 / 3)), [[1, 0, 0, 1]])


@pytest.mark.parametrize(
    ("mesh", "reason"),
    [
        (moved(box(2.0), 0.0, [1, 1, 1]), "coincide"),
        (sheet(), "it is flat"),
        (moved(box(2.0), 1e308, [0, 0, 0]), "too large"),
    ],
)
def test_meshes_without_a_size_are_refused(mesh: Mesh, reason: str):
    with pytest.raises(AssetError, match=reason), np.errstate(over="ignore"):
        normalise(mesh, 0.005)


def test_too_many_triangles_and_nan_corners_are_refused():
    with pytest.raises(AssetError, match="12 triangles and the limit is 11"):
        check_mesh(box(), 11)
    broken = box().vertices.copy()
    broken[0, 0] = np.nan
    with pytest.raises(AssetError, match=r"\d of 12 faces have NaN"):
        check_mesh(Mesh(broken, box().faces), 100)
