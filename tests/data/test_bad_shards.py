"""Whatever differs from the manifest is found before it is trained on, and named."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from tests.data.make import write_latents

from fieldforge.data.order import Mixing
from fieldforge.data.shards import open_shards
from fieldforge.data.stages import Labels, Latent, Meta
from fieldforge.data.store import BadShardError
from fieldforge.data.stream import SampleStream
from fieldforge.errors import UserError

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


def stream(folder: Path, on_bad_shard: str = "error") -> SampleStream:
    return SampleStream(
        open_shards(folder, "train"),
        [Latent(), Meta(), Labels()],
        seed=0,
        batch_size=4,
        mixing=Mixing(),
        on_bad_shard=on_bad_shard,
    )


@pytest.mark.parametrize("damage", DAMAGES)
def test_error_names_the_shard(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    write_latents(tmp_path, 16, 4)
    damage(tmp_path)
    with pytest.raises(BadShardError, match=BAD):
        list(islice(stream(tmp_path), 4))  # one epoch


@pytest.mark.parametrize("damage", DAMAGES)
def test_skip_reports_counts_and_gives_only_sound_samples(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    write_latents(tmp_path, 16, 4)
    damage(tmp_path)
    skipping = stream(tmp_path, "skip")
    with caplog.at_level(logging.WARNING):
        batches = list(islice(skipping, 4))
    ids = [meta["id"] for batch in batches for meta in batch["meta"]]
    sound = {f"s{number:06d}" for number in (*range(4), *range(8, 16))}
    assert len(ids) == 16
    assert sound <= set(ids)
    damaged_seen = set(ids) - sound
    assert not damaged_seen or damage is flip_one_bit  # its other samples match their checksums
    assert len(skipping.bad_shards) == 1
    assert sum(BAD in message for message in caplog.messages) == 1
    again = list(islice(stream(tmp_path, "skip"), 4))
    assert [meta["id"] for batch in again for meta in batch["meta"]] == ids  # replacements are a function of position


def test_all_bad_is_an_error(tmp_path: Path) -> None:
    write_latents(tmp_path, 8, 4)
    for shard in tmp_path.glob("*.tar"):
        shard.unlink()
    with pytest.raises(UserError, match="every shard"):
        next(iter(stream(tmp_path, "skip")))


def test_a_broken_sample_with_a_right_checksum_is_named(tmp_path: Path) -> None:
    write_latents(tmp_path, 1, 1)
    skipping = stream(tmp_path)
    sample = skipping.reader.read(0, 0)
    sample._members["latent.npy"] = memoryview(b"\x93NUMPY nonsense")
    with pytest.raises(BadShardError, match=r"train-000000.tar.*s000000.*latent\.npy"):
        sample["latent.npy"]
