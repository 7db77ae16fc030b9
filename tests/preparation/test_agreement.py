"""Pictures and points of a sample show the same thing, whatever is transparent in it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.preparation.make import png, record, sheet, tiny_settings

from fieldforge.data.schema import Sample
from fieldforge.data.shape_schema import SAMPLE
from fieldforge.geometry.camera import look_at
from fieldforge.geometry.mesh import Material, concatenate
from fieldforge.geometry.sampling import sample_visible_surface
from fieldforge.preparation.asset import prepare_asset
from fieldforge.preparation.distance import Caster
from fieldforge.preparation.settings import SurfaceSettings, ViewSettings
from fieldforge.preparation.views import render_view
from fieldforge.readers.file_store import AssetError, FolderStore

BOX = """mtllib box.mtl
usemtl skin
v -1 -0.5 -1.5
v -1 -0.5 1.5
v -1 0.5 -1.5
v -1 0.5 1.5
v 1 -0.5 -1.5
v 1 -0.5 1.5
v 1 0.5 -1.5
v 1 0.5 1.5
vt 0 0
vt 1 0
vt 1 1
vt 0 1
f 1/1 2/2 4/3 3/4
f 5/1 7/2 8/3 6/4
f 1/1 5/2 6/3 2/4
f 3/1 4/2 8/3 7/4
f 1/1 3/2 7/3 5/4
f 2/1 6/2 8/3 4/4
"""
SIZE = 48


def picture(alpha_left: int, alpha_right: int) -> np.ndarray:
    """Red on the left, green on the right."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :32] = 255, 0, 0, alpha_left
    pixels[:, 32:] = 0, 255, 0, alpha_right
    return pixels


def prepare(folder: Path, mtl: str, alpha_left: int, alpha_right: int) -> Sample:
    (folder / "box.obj").write_text(BOX)
    (folder / "box.mtl").write_text(f"newmtl skin\nKd 1 1 1\nmap_Kd skin.png\n{mtl}")
    (folder / "skin.png").write_bytes(png(picture(alpha_left, alpha_right)))
    settings = tiny_settings(surface=SurfaceSettings(1024), views=ViewSettings(8, SIZE, 40, 0.0))
    members = prepare_asset(record("box.obj", folder), FolderStore(folder, 2**20), settings, 0).members
    return SAMPLE.decode(members)


def seen_points(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (K, 4) where the points of the surface lie in the views that look at their side, and their colours."""
    points, normals = sample["surface_points.npy"].astype(float), sample["surface_normals.npy"] / 127
    pixels, colors = [], []
    for index, pose in enumerate(sample["cameras.npy"].astype(float)):
        inward = points @ pose[:3, :3] - pose[:3, 3] @ pose[:3, :3]  # in the camera's frame, which looks along -z
        where = inward[:, :2] / -inward[:, 2:] / math.tan(math.radians(20))
        column, row = ((where * [1, -1] + 1) / 2 * SIZE).astype(int).T
        towards = pose[:3, 3] - points
        facing = (towards * normals).sum(1) > 0.4 * np.linalg.norm(towards, axis=1)
        pixels.append(sample[f"view_{index:03d}.png"][row[facing], column[facing]])
        colors.append(sample["surface_colors.npy"][facing])
    return np.concatenate(pixels).astype(float), np.concatenate(colors).astype(float)


@pytest.mark.parametrize(
    ("mtl", "alpha", "shown"),
    [
        ("", (0, 0), {"red", "green"}),  # nothing is said of opacity: every viewer shows it
        ("", (0, 255), {"red", "green"}),
        ("map_d skin.png\n", (0, 255), {"green"}),
        ("map_d skin.png\n", (128, 128), {"red", "green"}),
        ("d 0.5\n", (0, 0), {"red", "green"}),
        ("d 0\n", (255, 255), {"red", "green"}),  # read as opaque, and noted
    ],
)
def test_points_have_the_colours_of_their_pixels(tmp_path: Path, mtl: str, alpha: tuple[int, int], shown: set[str]):
    sample = prepare(tmp_path, mtl, *alpha)
    pixels, colors = seen_points(sample)
    assert len(pixels) > 1000
    assert (pixels[:, 3] > 0).mean() > 0.97  # at the rim a pixel's centre may miss the box
    opaque = pixels[:, 3] == 255
    far = np.abs(pixels[:, :3] - colors).max(axis=1) > 64
    assert (far & opaque).sum() <= 0.1 * opaque.sum()
    views = np.stack([sample[f"view_{index:03d}.png"] for index in range(8)])
    assert (views[..., 3] > 0).any(axis=(1, 2)).all()
    for name, channel in (("red", 0), ("green", 1)):  # a few lie between two texels
        assert ((colors[:, channel] > 200).mean() > 0.05) == (name in shown)
        assert ((views[..., channel] > 200)[views[..., 3] > 0].mean() > 0.05) == (name in shown)


def test_what_is_nowhere_seen_is_refused(tmp_path: Path):
    with pytest.raises(AssetError, match="transparent"):
        prepare(tmp_path, "map_d skin.png\n", 0, 0)


def test_many_invisible_sheets_do_not_hide_what_is_behind():
    clear = Material(texture=np.zeros((2, 2, 4), np.uint8))
    sheets = [sheet(z=0.1 * index, material=clear, uv=True) for index in range(1, 10)]
    mesh = concatenate([sheet(material=Material((1.0, 0.0, 0.0, 1.0))), *sheets])
    view = render_view(Caster(mesh), look_at(torch.tensor([0.0, 0.0, 4.0])), 9, math.radians(40), shading=0.0)
    assert view.rgba[4, 4].tolist() == [255, 0, 0, 255]
    surface = sample_visible_surface(mesh, 100, np.random.default_rng(0))
    assert surface is not None
    assert len(surface.points) == 100
    assert (surface.points[:, 2] == 0).all()


def test_points_stay_the_same_where_all_is_seen_and_repeat_where_little_is():
    red = sheet(material=Material((1.0, 0.0, 0.0, 0.5)))
    drawn = sample_visible_surface(red, 50, np.random.default_rng(0))
    assert drawn is not None
    assert len(np.unique(drawn.points, axis=0)) == 50
    dot = np.zeros((64, 64, 4), np.uint8)
    dot[5, 5] = 255
    little = sample_visible_surface(sheet(material=Material(texture=dot), uv=True), 4, np.random.default_rng(0))
    assert little is None or (little.colors[:, 3] >= 0.02).all()
