"""The cache on one node: one download for all readers, never above its limit, nothing left by killed processes."""

import multiprocessing
import os
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.make import write_latents

from fieldforge.data.cache import Cache, CachedStore, locked
from fieldforge.data.reader import ShardReader
from fieldforge.data.shards import Place, ShardSet, open_shards
from fieldforge.errors import UserError
from fieldforge.storage.store import LocalStore

SHARDS, PER_SHARD = 8, 4


class SlowStore(LocalStore):
    """A folder that pretends to be far away, and writes down each download."""

    def __init__(self, folder: Path, log: Path) -> None:
        super().__init__(folder)
        self.log = log

    def download(self, name: str, write: Any, ahead: bool = False) -> None:
        with open(self.log, "a") as file:
            file.write(name + "\n")
        content = self.read(name)
        for start in range(0, len(content), 2048):
            time.sleep(0.001)
            write(content[start : start + 2048])


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    write_latents(tmp_path / "shards", SHARDS * PER_SHARD, PER_SHARD)
    return open_shards(tmp_path / "shards", "train")


def cached(shards: ShardSet, tmp_path: Path, limit_bytes: int) -> ShardSet:
    [place] = shards.places
    store = SlowStore(tmp_path / "shards", tmp_path / "log")
    wrapped = CachedStore(store, tmp_path / "cache", limit_bytes, place.table, place.rows)  # type: ignore[arg-type]
    return ShardSet(shards.schema, (Place(wrapped, place.table, place.rows),), shards.manifests)


def read_all(shards: ShardSet, seed: int, rounds: int) -> None:
    reader = ShardReader(shards)
    for number in np.random.default_rng(seed).permutation(np.repeat(np.arange(SHARDS), rounds)):
        reader.read_ahead(np.array([(number + 1) % SHARDS]), np.array([0]))
        sample = reader.read(int(number), 1)
        assert sample["meta.json"]["id"] == f"s{number * PER_SHARD + 1:06d}"
        assert sample["latent.npy"][0, 0] == number * PER_SHARD + 1


def run_together(shards: ShardSet, rounds: int, watch: Any) -> None:
    processes = [multiprocessing.Process(target=read_all, args=(shards, seed, rounds)) for seed in range(3)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        watch()
    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_several_readers_download_each_shard_once(shards: ShardSet, tmp_path: Path) -> None:
    run_together(cached(shards, tmp_path, 10**9), rounds=2, watch=lambda: time.sleep(0.01))
    downloads = Counter((tmp_path / "log").read_text().split())
    assert downloads == {entry.name: 1 for _, entry in shards}


def test_several_readers_stay_below_the_limit(shards: ShardSet, tmp_path: Path) -> None:
    """Room for three and a half of eight shards: each is fetched again when needed, and the rest is evicted."""
    limit = int(3.5 * shards[0][1].bytes)
    sizes: list[int] = []

    def watch() -> None:
        by_inode: dict[int, int] = {}  # by inode: a finished download changes its name while we look
        with locked(tmp_path / "cache" / "locks" / "room.lock"):  # nothing is evicted and nothing begun meanwhile
            for path in (tmp_path / "cache").glob("*/*"):
                with suppress(FileNotFoundError):
                    by_inode[path.stat().st_ino] = path.stat().st_size
        sizes.append(sum(by_inode.values()))

    run_together(cached(shards, tmp_path, limit), rounds=3, watch=watch)
    assert 0 < max(sizes) <= limit
    downloads = Counter((tmp_path / "log").read_text().split())
    assert downloads.total() > SHARDS


def test_the_least_recently_used_goes_first(shards: ShardSet, tmp_path: Path) -> None:
    small = cached(shards, tmp_path, 2 * shards[0][1].bytes)
    reader = ShardReader(small)
    folder = small[0][0].folder  # type: ignore[attr-defined]
    for number in (0, 1):
        reader.read(number, 0)
    os.utime(folder / "train-000000.tar", (1, 1))
    os.utime(folder / "train-000001.tar", (2, 2))
    reader.read(2, 0)
    assert sorted(path.name for path in folder.glob("*.tar")) == ["train-000001.tar", "train-000002.tar"]


def test_what_a_killed_process_left_is_removed(shards: ShardSet, tmp_path: Path) -> None:
    several = cached(shards, tmp_path, 2 * shards[0][1].bytes)
    folder = several[0][0].folder  # type: ignore[attr-defined]
    folder.mkdir(parents=True)
    (folder / ".train-000000.tar.999999999.tmp").write_bytes(bytes(2 * shards[0][1].bytes))
    read_all(several, seed=0, rounds=1)
    while several[0][0]._coming:  # type: ignore[attr-defined]  # what was read ahead may still be under way
        time.sleep(0.01)
    assert not list(folder.glob(".*.tmp"))


def test_a_cache_too_small_for_a_shard_says_so(shards: ShardSet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"limit_gb.*train-"):
        cached(shards, tmp_path, 1000)
    with pytest.raises(UserError, match="positive"):
        Cache(tmp_path, 0)
