"""Numbers of text files, and colours in whatever range they are written."""

import numpy as np
import pytest

from fieldforge.readers.file_store import AssetError, Notes
from fieldforge.readers.numbers import MAX_WORD, parse_numbers
from fieldforge.readers.obj_colors import polypaint, vertex_colors
from fieldforge.readers.rgba import full_scale, unit_rgba


def test_numbers_are_read_as_python_reads_them():
    words = [b"1", b"-2.5e-3", b"+.5", b"1e400"]
    assert parse_numbers(words, "OFF").tolist() == [float(word) for word in words]


@pytest.mark.parametrize(
    ("words", "odd"),
    [
        ([b"1", b"one"], "'one'"),
        ([b""], "''"),
        ([b"1" * (MAX_WORD + 1)], "a word of 401 characters"),
        ([b"1,5"], "'1,5'"),
        ([b"a\"'b"], "'a"),
    ],
)
def test_what_is_no_number_is_said(words: list[bytes], odd: str):
    with pytest.raises(AssetError, match=f"the OFF file cannot be read: it holds something else than numbers .{odd}"):
        parse_numbers(words, "OFF")


@pytest.mark.parametrize(("largest", "scale"), [(0, 1), (1, 1), (1.5, 255), (255, 255), (256, 65535), (1e6, 1e6)])
def test_the_largest_number_says_what_stands_for_one(largest: float, scale: float):
    assert full_scale(np.array([[0, largest, np.nan]])) == scale


def test_an_alpha_of_nothing_but_zeros_is_opaque():
    notes = Notes([])
    rgba = unit_rgba(np.array([[0.5, 2.0, np.nan]]), np.zeros(1), notes)
    assert rgba.tolist() == [[0.5, 1.0, 0.0, 1.0]]
    assert len(notes.texts) == 2
    half = unit_rgba(np.zeros((2, 3)), np.array([0.0, 0.5]), Notes([]))
    assert half[:, 3].tolist() == [0.0, 0.5]


def rows(*lines: list[float]) -> tuple[np.ndarray, np.ndarray]:
    table = np.full((len(lines), 8), np.nan)
    for index, line in enumerate(lines):
        table[index, : len(line)] = line
    return table, np.array([len(line) for line in lines])


@pytest.mark.parametrize(
    ("lines", "colors"),
    [
        ([[0, 0, 0], [1, 1, 1]], None),
        ([[0, 0, 0, 0.1, 0.2, 0.3]], [[0.1, 0.2, 0.3]]),
        ([[0, 0, 0, 51, 102, 255]], [[0.2, 0.4, 1.0]]),
        ([[0, 0, 0, 1, 0.1, 0.2, 0.3], [0, 0, 0, 1, 0.4, 0.5, 0.6]], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]),  # w r g b
        ([[0, 0, 0, 0.1, 0.2, 0.3, 1], [0, 0, 0, 0.4, 0.5, 0.6, 1]], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]),  # r g b a
        ([[0, 0, 0, 0.1, 0.2, 0.3, 1]] * 2, [[0.1, 0.2, 0.3]] * 2),  # r g b a, one colour
        ([[0, 0, 0, 0.1, 0.2, 0.3, 1], [0, 0, 0, 0.4, 0.5, 0.6, 0.5]], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]),
        ([[0, 0, 0, 255, 51, 102, 255]], [[1, 0.2, 0.4]]),
        ([[0, 0, 0, 1, 0.1, 0.2, 0.3, 1]], [[0.1, 0.2, 0.3]]),
    ],
)
def test_colours_stand_where_the_count_of_numbers_says(lines: list[list[float]], colors: list[list[float]] | None):
    result = vertex_colors(*rows(*lines), Notes([]))
    assert (result is None) == (colors is None)
    if colors is not None:
        np.testing.assert_allclose(result, colors)


def test_a_vertex_without_a_colour_is_noted():
    notes = Notes([])
    colors = vertex_colors(*rows([0, 0, 0, 0.1, 0.2, 0.3], [1, 1, 1]), notes)
    assert np.isnan(colors[1]).all()
    assert notes.texts == ["1 of 2 vertices have no colour: they are white"]


def test_colours_of_zbrush_stand_in_comments():
    notes = Notes([])
    colors = polypaint(b"v 0 0 0\n#MRGB ff3366ff00ff0000\nv 1 1 1\n", 2, notes)
    np.testing.assert_allclose(colors, [[0.2, 0.4, 1.0], [1.0, 0.0, 0.0]])
    assert polypaint(b"v 0 0 0\n", 1, notes) is None
    assert not notes.texts
    assert polypaint(b"#MRGB ff3366ff\n", 2, notes) is None
    assert len(notes.texts) == 1
