"""Shards that several processes write are those of one process, byte for byte."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from tests.data.make import meta

from fieldforge.data.dealt_shards import DealtShards
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import read_manifest
from fieldforge.data.shards import open_shards
from fieldforge.data.writer import write_shard
from fieldforge.errors import UserError
from fieldforge.storage import lock
from fieldforge.storage.output import LocalOutput

SAMPLES = {"train": 7, "heldout": 2}


def shards(folder: Path, samples=SAMPLES, **settings) -> DealtShards:
    return DealtShards(LocalOutput(folder), LATENT, {"seed": 0, **settings}, samples, samples_per_shard=3)


def drawn(parts, twice: str | None = None):
    for part in parts:
        for number in range(part.first, part.last):
            key = twice or f"{part.split}_{number}"
            yield key, {"meta.json": meta(key, part.split), "latent.npy": np.full((2, 2), number, np.float32)}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != lock.NAME}


@lock.scope()
def written(folder: Path, order, world: int) -> dict[str, bytes]:
    own = shards(folder)
    own.begin("output")
    for rank in order:
        own.write(rank, world, drawn)
    own.finish({})
    return contents(folder)


@pytest.mark.parametrize("world", [2, 3, 6])
def test_any_number_of_processes_in_any_order_writes_the_same_bytes(tmp_path, world):
    alone = written(tmp_path / "alone", [0], 1)
    for number, order in enumerate(list(permutations(range(world)))[:3]):
        assert written(tmp_path / f"{number}", order, world) == alone
    assert [entry.samples for entry in read_manifest(tmp_path / "alone").shards] == [2, 3, 3, 1]
    assert [open_shards(tmp_path / "alone", split).samples for split in SAMPLES] == [7, 2]


def test_finished_shards_are_kept_and_only_the_others_are_asked_for(tmp_path):
    own, asked = shards(tmp_path), []
    own.begin("output")
    own.write(0, 2, drawn)
    (tmp_path / "train-000000.tar").unlink()

    def watched(parts):
        asked.extend(part.name for part in parts)
        return drawn(parts)

    for rank in range(3):
        own.write(rank, 3, watched)
    assert sorted(asked) == ["heldout-000000.tar", "train-000000.tar", "train-000001.tar"]


def test_a_last_shard_that_has_grown_is_written_anew_and_one_too_many_removed(tmp_path):
    for samples in ({"train": 7}, {"train": 8}, {"train": 3}):
        own = shards(tmp_path, samples)
        own.begin("output")
        own.write(0, 1, drawn)
        own.finish({})
        assert open_shards(tmp_path, "train").samples == samples["train"]
    assert len(list(tmp_path.glob("*.tar"))) == 1


def test_shards_of_other_settings_and_keys_that_come_twice_are_refused(tmp_path):
    own = shards(tmp_path)
    own.begin("output")
    own.write(0, 1, drawn)
    with pytest.raises(UserError, match="other settings"):
        shards(tmp_path, seed=1).write(0, 1, drawn)
    block = [(key, LATENT.encode(key, sample)) for key, sample in drawn(own.parts[:1], twice="a")]
    write_shard(own.output, own.parts[0].name, LATENT, own.settings, "train", block)
    with pytest.raises(UserError, match="'a' is twice in split 'train'"):
        own.finish({})
