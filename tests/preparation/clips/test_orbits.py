"""Orbits of meshes as clips."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.preparation.make import LIMITS, write_cubes
from tests.preparation.test_pipeline import checksums

from fieldforge.data.clip_schema import CLIP
from fieldforge.data.clip_transforms import ClipFrames
from fieldforge.data.manifest import read_manifest
from fieldforge.engines.engine import LocalEngine
from fieldforge.errors import UserError
from fieldforge.preparation.asset import clean_mesh
from fieldforge.preparation.clips.orbit_recipe import OrbitRecipe
from fieldforge.preparation.distance import Caster
from fieldforge.preparation.pipeline import prepare
from fieldforge.preparation.settings import ViewSettings
from fieldforge.preparation.views import render_view
from fieldforge.readers.file_store import FolderStore, Notes

VIEWS = ViewSettings(count=12, size=48, fov_y_degrees=40, shading=1.0)
RECIPE = OrbitRecipe(
    views=VIEWS,
    azimuth_degrees=(0, 360),
    elevation_degrees=(-5, 30),
    limits=LIMITS,
    heldout_share=0.3,
    samples_per_shard=2,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory):
    return write_cubes(tmp_path_factory.mktemp("orbits") / "assets", 4)


def orbit(source, recipe: OrbitRecipe = RECIPE, number: int = 1, seed: int = 0) -> dict[str, Any]:
    record = source.records(2**24)[number]
    store = FolderStore(Path(record.archive), recipe.limits.max_file_bytes)
    return CLIP.decode(recipe.prepare(record, store, seed).members)


def test_a_frame_is_what_its_stored_camera_sees(source):
    sample = orbit(source)
    record = source.records(2**24)[1]
    caster = Caster(clean_mesh(record, FolderStore(Path(record.archive), 2**24), LIMITS, Notes([])).mesh)
    fov_y = sample["meta.json"]["fov_y"]
    for frame in range(VIEWS.count):
        pose = torch.from_numpy(sample["cameras.npy"][frame].copy())
        seen = render_view(caster, pose, VIEWS.size, fov_y, VIEWS.shading)
        np.testing.assert_array_equal(sample[f"frame_{frame:03d}.png"], seen.rgba)
        eye = sample["cameras.npy"][frame, :3, 3]
        height = math.asin(eye[1] / np.linalg.norm(eye))
        assert math.isclose(height, sample["meta.json"]["elevation"][frame], abs_tol=1e-5)
        away = math.atan2(eye[0], eye[2]) - sample["meta.json"]["azimuth"][frame]
        assert abs(math.remainder(away, 2 * math.pi)) < 1e-5


def test_a_turn_closes(source):
    """The step from the last frame to the first is as any other, in angle and in what is seen."""
    sample = orbit(source, replace(RECIPE, views=replace(VIEWS, count=48)))
    azimuth = np.array(sample["meta.json"]["azimuth"])
    np.testing.assert_allclose(np.diff([*azimuth, azimuth[0] + 2 * math.pi]), 2 * math.pi / 48)
    frames = ClipFrames(48)(sample, np.random.default_rng(0))["frames"]
    steps = np.abs(np.roll(frames, -1, axis=0) - frames).mean((1, 2, 3))  # the last is the one that closes
    assert steps[-1] <= steps[:-1].max() * 1.1
    assert steps.mean() < 0.5 * np.abs(np.roll(frames, -6, axis=0) - frames).mean()  # an eighth of a turn away


def test_angles_are_drawn_for_each_asset_within_their_ranges(source):
    metas = [orbit(source, number=number, seed=seed)["meta.json"] for number in range(2) for seed in range(2)]
    assert len({meta["azimuth"][0] for meta in metas}) == len({meta["elevation"][0] for meta in metas}) == 4
    assert metas[0] == orbit(source, number=0)["meta.json"]
    for meta in metas:
        assert len(set(meta["elevation"])) == 1
        assert math.radians(-5) <= meta["elevation"][0] <= math.radians(30)
        assert (meta["fps"], meta["captions"][:2]) == (None, [meta["name"], f"a {meta['name']}"])
    fixed = orbit(source, replace(RECIPE, azimuth_degrees=(90, 90), elevation_degrees=(10, 10)))["meta.json"]
    np.testing.assert_allclose([fixed["azimuth"][0], fixed["elevation"][0]], np.radians([90, 10]))


def test_ranges_that_hold_no_angle_are_named():
    for wrong in ((0,), (30, -5), (0, 91)):
        with pytest.raises(UserError, match=r"preparation\.elevation_degrees=.* within -90…90"):
            replace(RECIPE, elevation_degrees=wrong)
    with pytest.raises(UserError, match=r"preparation\.views\.count=1 must lie in 2…1000"):
        replace(RECIPE, views=replace(VIEWS, count=1))


def test_any_number_of_workers_writes_the_same_orbits(tmp_path: Path, source):
    """Slow: the processes of either run import the libraries of meshes."""
    for workers in (1, 2):
        prepare(source, RECIPE, 0, tmp_path / str(workers), LocalEngine(workers))
    assert checksums(tmp_path / "1") == checksums(tmp_path / "2")
    manifest = read_manifest(tmp_path / "1")
    assert manifest.schema == CLIP
    assert sum(manifest.extra["splits"].values()) == 4
