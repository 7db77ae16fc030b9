"""Polygons and strips → triangles, by hand-made cases."""

import numpy as np
import pytest

from fieldforge.readers.faces import Polygons, cut, strips
from fieldforge.readers.file_store import AssetError, Notes

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0]], float)


def area(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = vertices[faces].swapaxes(0, 1)
    return np.cross(b - a, c - a) / 2


def test_polygons_keep_order_place_and_direction():
    polygons = Polygons(np.array([3, 4, 2]), np.array([1, 4, 2, 0, 1, 2, 3, 0, 1]))
    notes = Notes([])
    triangles = cut(polygons, SQUARE, notes)
    assert triangles.polygon.tolist() == [0, 1, 1]
    assert area(SQUARE, triangles.faces).sum(axis=0).tolist() == [0, 0, 1.5]  # all seen from one side
    np.testing.assert_array_equal(polygons.corners[triangles.corner], triangles.faces)
    assert notes.texts == ["1 of 3 faces have fewer than three corners: they are left out"]


@pytest.mark.parametrize(
    ("counts", "corners", "sentence"),
    [([3], [0, 1, 5], "names vertex 5, but there are 5"), ([3], [0, 1, -2], "vertex -2"), ([2], [0, 1], "no faces")],
)
def test_what_is_no_polygon_is_said(counts: list[int], corners: list[int], sentence: str):
    with pytest.raises(AssetError, match=sentence):
        cut(Polygons(np.array(counts), np.array(corners)), SQUARE, Notes([]))


def test_every_second_triangle_of_a_strip_turns_and_joints_vanish():
    #  0-1-2-3, a break, and 4 5 5 6 7, whose doubled vertex only joins
    polygons = strips(np.array([5, 5]), np.array([0, 1, 2, 3, -1, 4, 5, 5, 6, 7]))
    assert polygons.corners.reshape(-1, 3).tolist() == [[0, 1, 2], [2, 1, 3], [5, 6, 7]]
    assert polygons.counts.tolist() == [3, 3, 3]


def test_a_strip_too_short_for_a_triangle_gives_none():
    assert len(strips(np.array([2]), np.array([0, 1])).counts) == 0
