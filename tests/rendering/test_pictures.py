import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.isosurface import extract_mesh
from fieldforge.rendering.bitmaps import flatten, image_of, write_gif, write_picture
from fieldforge.rendering.shading import Stand, portrait
from fieldforge.rendering.sheet import picture_sheet, text_picture
from fieldforge.rendering.turntable import write_turntable


@pytest.fixture(scope="module")
def mesh() -> ColoredMesh:
    """A slab, wide in x, whose +x half is red and whose other half is blue."""

    def color(points: torch.Tensor) -> torch.Tensor:
        return torch.where(points[:, :1] > 0, torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0]))

    size = torch.tensor([0.8, 0.4, 0.3])
    return extract_mesh(lambda p: (p.abs() - size).amax(dim=-1), color, 32)


def test_a_portrait_shows_the_right_side_on_the_right_with_the_camera_in_front(mesh):
    pixels = np.asarray(portrait(mesh, 64, Stand(0.0, 0.0)))
    left, right = pixels[32, 20], pixels[32, 44]
    assert left[3] == right[3] == 255
    assert right[0] > 100 > right[2]
    assert left[2] > 100 > left[0]
    behind = np.asarray(portrait(mesh, 64, Stand(math.pi, 0.0)))
    assert behind[32, 20, 0] > 100, "seen from behind, +x is on the left"


@pytest.mark.parametrize("azimuth", [0.0, 1.0, 4.0])
def test_the_shape_fits_the_picture_from_every_side_wherever_it_is(mesh, azimuth):
    moved = replace(mesh, vertices=mesh.vertices + np.float32([5, -3, 2]))
    solid = np.asarray(portrait(moved, 64, Stand(azimuth)))[..., 3] > 250
    assert solid.sum() == solid[1:-1, 1:-1].sum(), "nothing at the rim"
    assert solid.sum() > 0.1 * solid.size
    np.testing.assert_allclose(np.asarray(portrait(mesh, 64, Stand(azimuth))).astype(int)[..., 3] > 250, solid, atol=0)


def test_light_comes_from_above_and_the_ground_is_shadowed(mesh):
    white = replace(mesh, colors=np.ones_like(mesh.colors))
    pixels = np.asarray(portrait(white, 128, Stand(0.0, math.radians(40)))).astype(int)
    lit = pixels[pixels[..., 3] == 255][:, 0]
    column = pixels[:, 64]
    shape = np.flatnonzero(column[:, 3] == 255)
    assert column[shape[2], 0] > column[shape[-3], 0] + 20, "top face lighter than the front"
    assert lit.max() > 235, "white paint looks white"
    shadow = pixels[shape[-1] + 3, 64]
    assert 10 < shadow[3] < 200
    assert shadow[:3].max() == 0


def test_an_empty_mesh_has_an_empty_portrait():
    assert np.asarray(portrait(ColoredMesh.empty(), 16)).max() == 0


def test_a_premultiplied_view_becomes_a_straight_image():
    view = torch.tensor([[[0.25, 0.5, 0.0, 0.5], [0, 0, 0, 0]]])
    np.testing.assert_array_equal(np.asarray(image_of(view)), [[[128, 255, 0, 128], [0, 0, 0, 0]]])
    flat = np.asarray(flatten(image_of(view), (100, 100, 100)))
    np.testing.assert_allclose(flat, [[[114, 178, 50], [100, 100, 100]]], atol=1)


def test_a_turntable_turns_once_and_plays_for_ever(mesh, tmp_path):
    write_turntable(mesh, tmp_path / "turn.gif", size=48, frames=8, seconds=2.0)
    gif = Image.open(tmp_path / "turn.gif")
    assert gif.n_frames == 8
    assert gif.info["loop"] == 0
    assert gif.info["duration"] == 250
    first = np.asarray(gif.convert("RGB")).astype(int)
    np.testing.assert_allclose(first, np.asarray(flatten(portrait(mesh, 48))), atol=60)
    gif.seek(4)
    assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - first).max() > 100


def test_files_are_complete_or_not_there(tmp_path):
    picture = Image.new("RGB", (4, 4), (1, 2, 3))
    write_picture(picture, tmp_path / "a.png")
    write_gif([picture, picture], tmp_path / "a.gif", 1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "a.png"]
    assert Image.open(tmp_path / "a.png").getpixel((0, 0)) == (1, 2, 3)


def colored(color: str, size=(10, 10)) -> Image.Image:
    return Image.new("RGB", size, color)


def test_a_sheet_keeps_rows_and_columns_in_order():
    grid = [[colored("red"), colored("lime")], [None, colored("blue")]]
    sheet = picture_sheet(grid, ["first", "second"], ["a", "b"], "title", cell=10)
    pixels = np.asarray(sheet)

    def middle(color) -> tuple[float, float]:
        rows, columns = np.nonzero((pixels == color).all(axis=-1))
        assert len(rows) == 100
        return rows.mean(), columns.mean()

    red, lime, blue = middle([255, 0, 0]), middle([0, 255, 0]), middle([0, 0, 255])
    assert red[0] == lime[0] < blue[0]
    assert red[1] < lime[1] == blue[1]


def test_a_picture_larger_than_its_place_is_fitted_without_distortion():
    pixels = np.asarray(picture_sheet([[colored("red", (80, 40))]], cell=20))
    rows, columns = np.nonzero((pixels == [255, 0, 0]).all(axis=-1))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (10, 20)


def test_labels_in_other_alphabets_do_not_break_the_sheet():
    sheet = picture_sheet([[colored("red")]], ["ein grüner Stuhl 椅子"], cell=80)
    plain = picture_sheet([[colored("red")]], ["ein gruner Stuhl 椅子"], cell=80)
    assert sheet.size == plain.size
    assert sheet.tobytes() != plain.tobytes()


def test_an_empty_grid_is_a_small_picture():
    assert max(picture_sheet([]).size) < 20


def test_a_text_as_a_picture_fits_whatever_its_length():
    short, long = (np.asarray(text_picture(text, 96)).min(axis=2) < 120 for text in ("a bed", "a very old bed " * 60))
    for ink in (short, long):
        assert ink.any()
        assert not ink[:, [*range(4), *range(-4, 0)]].any(), "nothing is cut at the sides"
    assert np.flatnonzero(short.any(axis=1)).size < np.flatnonzero(long.any(axis=1)).size
