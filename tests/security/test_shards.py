"""Strangers' shards, with checksums that fit: nothing in them is unpickled, no name leads out of the folder."""

import hashlib
import io
import json
import pickle
import tarfile
import zlib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from tests.runs.tiny import SETTINGS, ball
from tests.security.payload import Payload, refused

from fieldforge.data.heldout import HeldOut
from fieldforge.data.index import index_folder
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import MANIFEST_NAME, ShardIndex, build_manifest, settings_sha256, write_manifest
from fieldforge.data.reader import ShardReader
from fieldforge.data.schema import Schema
from fieldforge.data.shape_schema import SAMPLE
from fieldforge.data.shape_transforms import Distances, Surface, ViewRays
from fieldforge.data.shards import open_shards
from fieldforge.data.table import EntryError, ShardTable
from fieldforge.data.transforms import Latent, Meta, Transform
from fieldforge.data.writer import ShardWriter, shard_entry

STAGES: list[Transform] = [Meta(), Surface(4), Distances(4, 4), ViewRays(4, 1)]


def pickled_array(mark: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload(mark)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def pickled(mark: Path) -> bytes:
    return pickle.dumps(Payload(mark))


def written(folder: Path, schema: Schema, encoded: dict[str, bytes]) -> Path:
    """A sound folder of one shard with one sample of these members."""
    with ShardWriter(folder, schema, SETTINGS, 1, "train") as writer:
        writer.write_encoded("a", encoded)
    write_manifest(folder, schema, SETTINGS, writer.entries)
    return folder


def read(folder: Path, transforms: list[Transform]) -> dict:
    return next(iter(HeldOut(open_shards(folder, "train"), transforms, seed=0, batch_size=1)))


@pytest.mark.parametrize("member", ["surface_points.npy", "near_sdf.npy", "cameras.npy", "view_000.png", "meta.json"])
@pytest.mark.parametrize("content", [pickled_array, pickled])
def test_pickles_in_the_place_of_members_are_not_read(member, content, tmp_path, mark):
    encoded = SAMPLE.encode("a", ball(0.5, "red", "train", 0, views=1))
    folder = written(tmp_path / "shards", SAMPLE, {**encoded, member: content(mark)})
    assert member in refused(mark, lambda: read(folder, STAGES))


def test_nor_in_latents(tmp_path, mark):
    meta = SAMPLE.encode("a", ball(0.5, "red", "train", 0))["meta.json"]
    folder = written(tmp_path / "shards", LATENT, {"meta.json": meta, "latent.npy": pickled_array(mark)})
    assert "latent.npy" in refused(mark, lambda: read(folder, [Latent()]))


@pytest.mark.parametrize("ending", ["pkl", "pickle", "pyd", "pth", "pt", "npz", "torch", "cls"])
def test_members_of_other_kinds_are_left_alone(ending, tmp_path, mark):
    encoded = SAMPLE.encode("a", ball(0.5, "red", "train", 0))
    folder = written(tmp_path / "shards", SAMPLE, {**encoded, f"more.{ending}": pickled(mark)})
    assert read(folder, [Surface(4)])["input"].shape == (1, 4, 9)
    sample = ShardReader(open_shards(folder, "train")).read(0, 0)
    assert ending in refused(mark, lambda: sample[f"more.{ending}"])


def tar_of(members: list[tarfile.TarInfo], path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


@pytest.mark.parametrize(
    "hostile",
    [
        member("a.meta.json", tarfile.SYMTYPE, "/etc/passwd"),
        member("a.meta.json", tarfile.LNKTYPE, "../../secret"),
        member("a.meta.json", tarfile.CHRTYPE),
        member("a.meta.json", tarfile.DIRTYPE),
        member("../a.meta.json", size=2),
        member("/tmp/a.meta.json", size=2),
        member("b/../../a.meta.json", size=2),
    ],
    ids=["symbolic link", "hard link", "device", "folder", "parent", "absolute", "through a folder"],
)
def test_links_and_names_that_lead_elsewhere_are_refused(hostile, tmp_path, mark):
    folder = tmp_path / "shards"
    folder.mkdir()
    tar_of([hostile], folder / "train-000000.tar")
    refused(mark, lambda: index_folder(folder, SAMPLE))
    # An index of the stranger's own, with checksums that fit, does not help.
    content = (folder / "train-000000.tar").read_bytes()
    end = 512 + (hostile.size + 511) // 512 * 512
    index = ShardIndex(
        SAMPLE.name, SAMPLE.version, settings_sha256(SAMPLE, SETTINGS), "train", 1, 1, len(content),
        hashlib.sha256(content).hexdigest(), ("a",), (0, end), (zlib.crc32(content[:end]),),
    )  # fmt: skip
    payload = json.dumps(asdict(index)).encode()
    (folder / "train-000000.index.json").write_bytes(payload)
    write_manifest(folder, SAMPLE, SETTINGS, [shard_entry("train-000000.tar", index, payload)])
    assert "not a plain one" in refused(mark, lambda: read(folder, [Meta()]))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../secret.tar"},
        {"name": "/etc/secret.tar"},
        {"name": "..\\secret.tar"},
        {"name": "folder/train-000000.tar"},
        {"name": "passwd"},
        {"split": "../../train"},
        {"split": "/tmp/train"},
        {"split": ""},
    ],
)
def test_a_manifest_cannot_point_outside(change, tmp_path, mark):
    encoded = SAMPLE.encode("a", ball(0.5, "red", "train", 0))
    folder = written(tmp_path / "shards", SAMPLE, encoded)
    [entry] = open_shards(folder, "train").manifests[0].shards
    with pytest.raises(EntryError):
        ShardTable([replace(entry, **change)])
    manifest = b"".join(build_manifest(SAMPLE, SETTINGS, [entry]).to_json())
    for key, value in change.items():
        manifest = manifest.replace(
            json.dumps({key: getattr(entry, key)})[1:-1].encode(), json.dumps({key: value})[1:-1].encode()
        )
    (folder / MANIFEST_NAME).write_bytes(manifest)
    assert "not allowed" in refused(mark, lambda: open_shards(folder, "train"))
