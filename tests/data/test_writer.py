"""Shards are deterministic, whole, resumable, and readable by plain webdataset."""

import json
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.make import latent_sample, sphere_sample, write_latents, write_spheres

from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import Manifest, parse_index, read_manifest
from fieldforge.data.writer import ShardWriter
from fieldforge.errors import UserError


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_plain_webdataset_reads_the_shards(tmp_path: Path) -> None:
    write_spheres(tmp_path, 3, 2)
    urls = [str(tmp_path / "train-000000.tar"), str(tmp_path / "train-000001.tar")]
    result = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert [sample["__key__"] for sample in result] == ["train000000", "train000001", "train000002"]
    for sample in result:
        truth = sphere_sample(sample["__key__"])
        assert sample["meta.json"] == truth["meta.json"]
        np.testing.assert_array_equal(sample["near_points.npy"], truth["near_points.npy"])


class Killed(Exception):
    pass


def write_until_killed(folder: Path, samples_per_shard: int, stop_at: int) -> None:
    with ShardWriter(folder, LATENT, {"made_by": "test"}, samples_per_shard, "train") as writer:
        for number in range(stop_at):
            writer.write(f"s{number:06d}", latent_sample(f"s{number:06d}"))
        raise Killed


@given(st.integers(0, 11), st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_interrupted_anywhere_and_run_again_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, stop_at: int, samples_per_shard: int
) -> None:
    undisturbed, disturbed = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    write_latents(undisturbed, 11, samples_per_shard)
    with pytest.raises(Killed):
        write_until_killed(disturbed, samples_per_shard, stop_at)
    assert not (disturbed / "manifest.json").exists()
    (disturbed / ".train-000000.tar.999999999.tmp").write_bytes(b"cut")  # of a process that was killed
    write_latents(disturbed, 11, samples_per_shard)
    assert contents(undisturbed) == contents(disturbed)


def test_finished_shards_are_kept_and_named(tmp_path: Path) -> None:
    write_latents(tmp_path, 7, 3)
    before = (tmp_path / "train-000000.tar").stat().st_mtime_ns
    writer = ShardWriter(tmp_path, LATENT, {"made_by": "test"}, 3, "train")
    assert writer.finished_keys == {f"s{number:06d}" for number in range(6)}  # the partial third shard is written again
    write_latents(tmp_path, 7, 3)
    assert (tmp_path / "train-000000.tar").stat().st_mtime_ns == before


def test_a_cut_shard_is_written_again(tmp_path: Path) -> None:
    write_latents(tmp_path, 6, 3)
    whole = contents(tmp_path)
    shard = tmp_path / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:1024])
    write_latents(tmp_path, 6, 3)
    assert contents(tmp_path) == whole


def test_shards_of_other_settings_never_mix(tmp_path: Path) -> None:
    write_latents(tmp_path, 4, 2)
    with pytest.raises(UserError, match="other settings"):
        ShardWriter(tmp_path, LATENT, {"made_by": "someone else"}, 2, "train")
    with pytest.raises(UserError, match="other settings"):
        ShardWriter(tmp_path, LATENT, {"made_by": "test"}, 3, "train")


def test_fewer_samples_leave_no_stale_shard(tmp_path: Path) -> None:
    write_latents(tmp_path, 5, 2)
    (tmp_path / "train-000000.tar").unlink()  # so that writing starts anew
    write_latents(tmp_path, 2, 2)
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["train-000000.tar"]


def test_a_key_comes_once(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, LATENT, {}, 2, "train")
    writer.write("a", latent_sample("1"))
    with pytest.raises(UserError, match="twice"):
        writer.write("a", latent_sample("1"))


def test_index_holds_the_place_of_every_sample(tmp_path: Path) -> None:
    write_spheres(tmp_path, 3, 3)
    shard = (tmp_path / "train-000000.tar").read_bytes()
    index = parse_index((tmp_path / "train-000000.index.json").read_bytes(), "here")
    for number, key in enumerate(index.keys):
        assert shard[index.offsets[number] :].startswith(f"{key}.cameras.npy".encode())
    assert shard[index.offsets[-1] :] == bytes(1024)  # the end of a tar


def test_manifest_comes_back_equal(tmp_path: Path) -> None:
    manifest = write_spheres(tmp_path, 3, 2, heldout=1)
    assert read_manifest(tmp_path) == manifest
    assert [(entry.split, entry.samples) for entry in manifest.shards] == [("heldout", 1), ("train", 2), ("train", 1)]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": "other"}, "format"),
        ({"format_version": 2}, "format_version"),
        ({"schema": {"name": "sample", "version": 99}}, "schema"),
        ({"schema": {"name": "unheard of", "version": 1}}, "schema"),
        ({"settings": None, "shards": [{"name": "a.tar"}]}, "missing"),
        ({"shards": None}, "missing"),
    ],
)
def test_unsound_manifests_are_refused(tmp_path: Path, change: dict, named: str) -> None:
    write_latents(tmp_path, 2, 2)
    values = json.loads((tmp_path / "manifest.json").read_text())
    with pytest.raises(UserError, match=named):
        Manifest.from_json([json.dumps({**values, **change}).encode()], "here")


@pytest.mark.parametrize("name", ["../train-000000.tar", "/etc/passwd.tar", "a\\b.tar", "a.zip"])
def test_manifests_cannot_point_outside_their_folder(tmp_path: Path, name: str) -> None:
    write_latents(tmp_path, 2, 2)
    values = json.loads((tmp_path / "manifest.json").read_text())
    values["shards"][0]["name"] = name
    with pytest.raises(UserError, match="name"):
        Manifest.from_json([json.dumps(values).encode()], "here")


def test_no_manifest_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="prepare the data"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="JSON"):
        read_manifest(tmp_path)
