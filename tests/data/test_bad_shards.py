"""Whatever differs from the manifest is found before it is trained on, and named."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from tests.data.make import latent_sample, write_latents

from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import write_manifest
from fieldforge.data.order import Mixing
from fieldforge.data.shards import open_shards
from fieldforge.data.stream import SampleStream
from fieldforge.data.transforms import Labels, Latent, Meta
from fieldforge.data.writer import ShardWriter
from fieldforge.errors import UserError
from fieldforge.storage.store import BadShardError

BAD = "train-000001.tar"


def cut_at_a_member_boundary(folder: Path) -> None:
    """What webdataset reads without any error: three of the four samples, then the end."""
    index = json.loads((folder / "train-000001.index.json").read_text())
    shard = folder / BAD
    shard.write_bytes(shard.read_bytes()[: index["offsets"][3]] + bytes(1024))


def cut_in_a_member(folder: Path) -> None:
    shard = folder / BAD
    shard.write_bytes(shard.read_bytes()[:3000])


def flip_one_bit(folder: Path) -> None:
    shard = folder / BAD
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(bytes(content))


def remove(folder: Path) -> None:
    (folder / BAD).unlink()


def remove_index(folder: Path) -> None:
    (folder / "train-000001.index.json").unlink()


def swap_with_another(folder: Path) -> None:
    shutil.copy(folder / "train-000002.tar", folder / BAD)
    shutil.copy(folder / "train-000002.index.json", folder / "train-000001.index.json")


def change_schema(folder: Path) -> None:
    """As another version's writer would leave it: consistent with its manifest, but of another schema version."""
    path, manifest = folder / "train-000001.index.json", folder / "manifest.json"
    before = path.read_bytes()
    path.write_text(json.dumps({**json.loads(before), "version": 0}))
    old, new = (hashlib.sha256(content).hexdigest() for content in (before, path.read_bytes()))
    manifest.write_text(manifest.read_text().replace(old, new))


DAMAGES = [
    cut_at_a_member_boundary,
    cut_in_a_member,
    flip_one_bit,
    remove,
    remove_index,
    swap_with_another,
    change_schema,
]


def stream(folder: Path, on_bad_shard: str = "error", position: int = 0) -> SampleStream:
    return SampleStream(
        open_shards(folder, "train"),
        [Latent(), Meta(), Labels()],
        seed=0,
        batch_size=4,
        mixing=Mixing(),
        position=position,
        on_bad_shard=on_bad_shard,
    )


@pytest.mark.parametrize("damage", DAMAGES)
def test_error_names_the_shard(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    write_latents(tmp_path, 16, 4)
    damage(tmp_path)
    with pytest.raises(BadShardError, match=BAD):
        list(islice(stream(tmp_path), 4))  # one epoch


def ids(batches: list[dict]) -> list[str]:
    return [meta["id"] for batch in batches for meta in batch["meta"]]


@pytest.mark.parametrize("damage", DAMAGES)
def test_skip_reports_counts_and_loses_no_sound_sample(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    write_latents(tmp_path, 16, 4)
    damage(tmp_path)
    skipping = stream(tmp_path, "skip")
    with caplog.at_level(logging.WARNING):
        batches = list(islice(skipping, 8))
    altered = {"s000004"} if damage is flip_one_bit else {f"s{number:06d}" for number in range(4, 8)}
    for epoch in (ids(batches[:4]), ids(batches[4:])):
        assert len(epoch) == 16
        assert set(epoch) == {f"s{number:06d}" for number in range(16)} - altered
    assert skipping.damaged.tolist() == [False, True, False, False]
    assert sum(BAD in message for message in caplog.messages) == 1


@pytest.mark.parametrize("damage", [flip_one_bit, remove])
def test_skip_is_a_function_of_the_position(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """Whatever was met before: resumed, the same samples stand in for the damaged ones."""
    write_latents(tmp_path, 16, 4)
    damage(tmp_path)
    whole = list(islice(stream(tmp_path, "skip"), 8))
    for start in range(8):
        resumed = ids(list(islice(stream(tmp_path, "skip", position=4 * start), 8 - start)))
        assert resumed == ids(whole[start:])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_what_workers_skip_is_said_at_the_end(tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture) -> None:
    write_latents(tmp_path, 16, 4)
    remove(tmp_path)
    transforms = {"latent": Latent(), "meta": Meta()}
    data = ShardDataModule(tmp_path, transforms, 4, num_workers=workers, on_bad_shard="skip")
    result = ids(list(islice(data.train_dataloader(), 4)))
    assert result == ids(list(islice(stream(tmp_path, "skip"), 4)))
    data.teardown("fit")
    assert data.damaged_shards == [f"{tmp_path}/{BAD}"]
    assert (
        f"1 shard had samples that could not be used; others were trained on in their places: {tmp_path}/{BAD}"
        in (caplog.messages[-1])
    )


def test_all_bad_is_an_error(tmp_path: Path) -> None:
    write_latents(tmp_path, 8, 4)
    for shard in tmp_path.glob("*.tar"):
        shard.unlink()
    with pytest.raises(UserError, match="none is usable"):
        next(iter(stream(tmp_path, "skip")))


def test_skip_passes_over_a_sample_that_its_transforms_cannot_read(tmp_path: Path) -> None:
    """Its checksum is right, but its array is none: its writer failed."""
    encoded = {**LATENT.encode("s0", latent_sample("s0")), "latent.npy": b"\x93NUMPY nonsense"}
    with ShardWriter(tmp_path, LATENT, {}, 2, "train") as writer:
        writer.write_encoded("s0", encoded)
        writer.write("s1", latent_sample("s1"))
    write_manifest(tmp_path, LATENT, {}, writer.entries)
    with pytest.raises(BadShardError, match=r"train-000000\.tar, sample 's0'.*latent\.npy"):
        next(iter(stream(tmp_path)))
    assert ids([next(iter(stream(tmp_path, "skip")))]) == ["s1"] * 4


def test_a_broken_sample_with_a_right_checksum_is_named(tmp_path: Path) -> None:
    write_latents(tmp_path, 1, 1)
    skipping = stream(tmp_path)
    sample = skipping.reader.read(0, 0)
    sample._members["latent.npy"] = memoryview(b"\x93NUMPY nonsense")
    with pytest.raises(BadShardError, match=r"train-000000.tar.*s000000.*latent\.npy"):
        sample["latent.npy"]
