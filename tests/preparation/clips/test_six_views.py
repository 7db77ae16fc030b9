"""A picture of a mesh and the six views of Zero123++ around it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.preparation.clips.test_orbits import RECIPE, VIEWS, orbit
from tests.preparation.make import write_cubes

from fieldforge.data.image_transforms import over_white
from fieldforge.domains.clip import ClipDomain
from fieldforge.domains.photographs import read_photographs
from fieldforge.errors import UserError
from fieldforge.fields.clip_grid import ClipGrid
from fieldforge.preparation.clips.six_views_recipe import SixViewsRecipe

SIX = SixViewsRecipe(**{**vars(RECIPE), "views": replace(VIEWS, count=7)})


def test_views_lie_in_zero123_s_directions_from_the_picture_on(tmp_path):
    sample = orbit(write_cubes(tmp_path / "assets", 4), SIX)
    eyes = sample["cameras.npy"][:, :3, 3].astype(np.float64)
    azimuth = np.degrees(np.arctan2(eyes[:, 0], eyes[:, 2]))
    height = np.degrees(np.arcsin(eyes[:, 1] / np.linalg.norm(eyes, axis=1)))
    assert (azimuth[1:] - azimuth[0]) % 360 == pytest.approx([30, 90, 150, 210, 270, 330], abs=1e-3)
    assert height[1:] == pytest.approx([20, -10] * 3, abs=1e-3)
    meta = sample["meta.json"]
    assert np.degrees(meta["elevation"]) == pytest.approx(height, abs=1e-3)
    assert np.degrees(meta["azimuth"]) % 360 == pytest.approx(azimuth % 360, abs=1e-3)
    assert -5 <= height[0] <= 30


def test_another_number_of_frames_is_a_sentence():
    with pytest.raises(UserError, match=r"preparation\.views\.count=6 must be 7"):
        replace(SIX, views=replace(VIEWS, count=6))
    with pytest.raises(UserError, match=r"domain\.frames=21 must be 7"):
        ClipDomain(directions="six_views")


def test_views_are_written_with_cameras_that_a_reconstructor_reads(tmp_path):
    sample = orbit(write_cubes(tmp_path / "assets", 4), SIX)
    frames = np.stack([over_white(sample[f"frame_{number:03d}.png"]) for number in range(7)])  # (7, H, W, 3)
    size = frames.shape[1]
    domain = ClipDomain(size=size, frames=7, directions="six_views")
    rows = torch.from_numpy(frames.astype(np.float32) / 127.5 - 1).reshape(1, -1, 3)
    files = domain.outputs(ClipGrid(size, 7), {"pixels": rows}).write(tmp_path, "cube")
    assert files["views"] == "cube_views/cameras.json"
    photographs = read_photographs(tmp_path / "cube_views", cut_out=False)
    true = sample["cameras.npy"][1:, :3, 3].astype(np.float64)
    turn = sample["meta.json"]["azimuth"][0]
    for photograph, eye in zip(photographs, true, strict=True):
        around = np.arctan2(eye[0], eye[2]) - turn
        place = photograph.pose[:3, 3]
        assert np.arctan2(place[0], place[2]) == pytest.approx((around + math.pi) % (2 * math.pi) - math.pi, abs=1e-4)
        assert np.linalg.norm(place) == pytest.approx(np.linalg.norm(eye), rel=0.35)  # the scale is not told


def test_a_user_s_picture_is_made_into_the_same_directions():
    class Encoder:
        latent_mean = torch.zeros(1)

        def encode(self, batch):
            return batch["input"].flatten(2).transpose(1, 2)[..., :3].flatten(1, 2)

    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[8:24, 8:24] = (200, 30, 30, 255)
    domain = ClipDomain(size=16, frames=7, directions="six_views")
    angles = domain.opening(Encoder(), pixels, {"elevation": 15.0})["angles"].numpy()  # type: ignore[arg-type]
    turned = np.degrees(np.arctan2(angles[:, 1], angles[:, 0])) % 360
    assert turned == pytest.approx([0, 30, 90, 150, 210, 270, 330], abs=1e-3)
    assert angles[:, 2] == pytest.approx([math.radians(each) for each in (15, 20, -10, 20, -10, 20, -10)], abs=1e-6)
