"""The data that come with the project: whole, small, free, and what the recipe promises of every asset."""

import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fieldforge.data.manifest import read_manifest
from fieldforge.data.schema import Sample
from fieldforge.data.shape_schema import DEPTH_UNIT, SAMPLE
from fieldforge.preparation.asset_records import split_of
from fieldforge.runs.entry import CONFIGS

FOLDER = CONFIGS.parent / "data" / "furniture_cc0"


def samples_of(path: Path) -> dict[str, Sample]:
    members: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as archive:
        for info in archive:
            key, _, suffix = info.name.partition(".")
            file = archive.extractfile(info)
            assert file is not None
            members.setdefault(key, {})[suffix] = file.read()
    return {key: SAMPLE.decode(encoded) for key, encoded in members.items()}


@pytest.fixture(scope="module")
def samples() -> dict[str, Sample]:
    return {key: value for path in sorted(FOLDER.glob("*.tar")) for key, value in samples_of(path).items()}


def test_small_whole_and_free(samples: dict[str, Sample]):
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 20e6
    manifest = read_manifest(FOLDER)
    for entry in manifest.shards:
        assert hashlib.sha256((FOLDER / entry.name).read_bytes()).hexdigest() == entry.sha256
    assert len(samples) == sum(entry.samples for entry in manifest.shards) == 175
    assert {sample["meta.json"]["licence"] for sample in samples.values()} == {"CC0-1.0"}
    assert "CC0 1.0" in (FOLDER / "LICENSE").read_text()


def test_every_sample_keeps_the_schema_and_its_split(samples: dict[str, Sample]):
    for key, sample in samples.items():
        SAMPLE.check(key, sample)
        assert sample["meta.json"]["split"] == split_of(sample["meta.json"]["name"], 0.1)


def test_every_asset_fills_the_box_and_has_an_inside(samples: dict[str, Sample]):
    for key, sample in samples.items():
        points = sample["surface_points.npy"].astype(np.float64)
        assert 0.8 < np.abs(points).max() <= 0.9 + 1e-3, key
        near = sample["near_sdf.npy"].astype(np.float64)
        assert (near < 0).any(), key
        assert (near > 0).any(), key
        assert sample["surface_exposed.npy"].mean() > 0.1, key


def test_distances_are_those_to_the_surface(samples: dict[str, Sample]):
    """A stored distance never exceeds the one to the nearest of the sampled surface points."""
    for key, sample in list(samples.items())[::10]:
        surface = sample["surface_points.npy"].astype(np.float64)
        points = sample["volume_points.npy"].astype(np.float64)[:300]
        unsigned = np.abs(sample["volume_sdf.npy"].astype(np.float64)[:300] + sample["meta.json"]["epsilon"])
        nearest = np.linalg.norm(points[:, None] - surface, axis=-1).min(axis=1)
        assert (unsigned <= nearest + 2e-3).all(), key
        assert (nearest - unsigned).mean() < 0.05, key


def test_what_the_views_see_lies_on_the_surface(samples: dict[str, Sample]):
    for key, sample in list(samples.items())[::20]:
        surface = sample["surface_points.npy"].astype(np.float64)
        camera, depth = sample["cameras.npy"][0].astype(np.float64), sample["depth_000.png"] * DEPTH_UNIT
        size = len(depth)
        edge = np.tan(sample["meta.json"]["fov_y"] / 2)
        rows, columns = np.nonzero(depth)
        local = np.stack(
            [((columns + 0.5) / size * 2 - 1) * edge, (1 - (rows + 0.5) / size * 2) * edge, -np.ones(len(rows))], axis=1
        )
        directions = local / np.linalg.norm(local, axis=1, keepdims=True) @ camera[:3, :3].T
        seen = camera[:3, 3] + depth[rows, columns][:, None] * directions
        nearest = np.linalg.norm(seen[:, None] - surface, axis=-1).min(axis=1)
        assert np.median(nearest) < 0.06, key
        assert (sample["view_000.png"][rows, columns, 3] > 0).all(), key


def test_captions_name_the_thing(samples: dict[str, Sample]):
    for sample in samples.values():
        meta = sample["meta.json"]
        assert meta["captions"][0] == meta["name"]
        assert len(meta["captions_by_language"]) >= 15
        assert meta["creator"]


def test_notes_are_readable():
    for line in (FOLDER / "notes.jsonl").read_text().splitlines():
        assert "missing" in json.loads(line)["note"]
