"""Shards in an S3 server, through a network that breaks: the same bytes, or an error that names the shard."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from tests.data.faults import FaultyProxy
from tests.data.make import write_latents
from tests.data.s3 import create_bucket, s3_server

from fieldforge.data.cache import Cache
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.order import Mixing
from fieldforge.data.shards import open_shards
from fieldforge.data.stream import SampleStream
from fieldforge.data.transforms import Labels, Latent, Meta
from fieldforge.errors import UserError
from fieldforge.storage.cloud import ObjectStore, Patience
from fieldforge.storage.store import BadShardError

QUICK = Patience(first_wait=0.001, longest_wait=0.01, request_seconds=0.5)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    with s3_server() as place:
        yield place


def upload(folder: Path, bucket: str, access: str = "public-read") -> None:
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    create_bucket(bucket, access)
    for path in folder.iterdir():
        client.put_object(Bucket=bucket, Key=f"some/shards/{path.name}", Body=path.read_bytes(), ACL=access)


@pytest.fixture(scope="module")
def local(server: tuple[str, int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 48 latents in 6 shards, also at s3://data/some/shards."""
    folder = tmp_path_factory.mktemp("shards")
    write_latents(folder, 48, 8)
    upload(folder, "data")
    return folder


@pytest.fixture
def proxy(server: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Half of all answers go wrong."""
    proxy = FaultyProxy(*server, rate=0.5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    yield proxy
    proxy.close()


def batches(shards: Any, count: int) -> list[dict]:
    stream = SampleStream(shards, [Latent(), Meta(), Labels()], seed=0, batch_size=8, mixing=Mixing())
    return list(islice(stream, count))


def assert_equal(ours: list[dict], theirs: list[dict]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine["latent"], other["latent"])
        assert (mine["meta"], mine["caption"]) == (other["meta"], other["caption"])


def test_two_hundred_faults_lose_nothing_and_double_nothing(local: Path, proxy: FaultyProxy) -> None:
    """Five epochs through a network that breaks every second answer: bit for bit what the disk gives."""
    store = ObjectStore("s3://data/some/shards", QUICK)
    result = batches(open_shards("s3://data/some/shards", "train", store=store), 30)
    assert proxy.injected.total() >= 200, proxy.injected
    assert set(proxy.injected) == {"drop", "reset", "status", "short", "slow"}
    assert_equal(result, batches(open_shards(local, "train"), 30))
    ids = [meta["id"] for batch in result[:6] for meta in batch["meta"]]
    assert sorted(ids) == [f"s{number:06d}" for number in range(48)]


def test_downloads_into_the_cache_survive_faults(local: Path, proxy: FaultyProxy, tmp_path: Path) -> None:
    store = ObjectStore("s3://data/some/shards", QUICK)
    shards = open_shards("s3://data/some/shards", "train", Cache(tmp_path, 1.0), store=store)
    assert_equal(batches(shards, 6), batches(open_shards(local, "train"), 6))
    assert proxy.injected.total() >= 5
    cached = {path.name: path.read_bytes() for path in tmp_path.glob("*/*.tar")}
    assert cached == {path.name: path.read_bytes() for path in local.glob("*.tar")}


def test_patience_ends_with_an_error_that_names_the_shard(local: Path, server: tuple[str, int], tmp_path: Path) -> None:
    proxy = FaultyProxy(*server, rate=1.0)
    store = ObjectStore(f"{proxy.url}/data/some/shards", Patience(0.001, 0.001, 0.5, minutes=0.2 / 60))
    with pytest.raises(UserError, match=r"some/shards/train-000003\.tar: could not be read in \d+ attempts"):
        store.read("train-000003.tar", 0, 100)
    proxy.close()


def test_the_datamodule_reads_remote_shards_with_workers(local: Path, tmp_path: Path) -> None:
    def first(root: str | Path, **options: Any) -> list[dict]:
        transforms = {"latent": Latent(), "meta": Meta(), "labels": Labels()}
        return list(islice(ShardDataModule(root, transforms, 8, **options).train_dataloader(), 4))

    truth = first(local)
    assert_equal(first("s3://data/some/shards", num_workers=1, cache=Cache(tmp_path, 1.0)), truth)


def test_web_servers_and_patterns(local: Path) -> None:
    url = f"{os.environ['AWS_ENDPOINT_URL']}/data/some/shards"
    assert_equal(batches(open_shards(url, "train"), 2), batches(open_shards(local, "train"), 2))
    for pattern in ("train-00000[12].tar", "train-{000001..000002}.tar"):
        names = [entry.name for _, entry in open_shards(f"s3://data/some/shards/{pattern}", "train")]
        assert names == ["train-000001.tar", "train-000002.tar"]


def test_what_is_not_there_is_named(local: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"s3://data/elsewhere/manifest\.json: there is no manifest"):
        open_shards("s3://data/elsewhere", "train")
    write_latents(tmp_path, 8, 4)
    (tmp_path / "train-000001.tar").unlink()
    upload(tmp_path, "lacking")
    with pytest.raises(BadShardError, match=r"s3://lacking/some/shards/train-000001\.tar"):
        batches(open_shards("s3://lacking/some/shards", "train"), 1)


def test_denied_access_is_said_at_once(local: Path) -> None:
    upload(local, "secret", access="private")
    with pytest.raises(UserError, match="access was denied"):
        open_shards(f"{os.environ['AWS_ENDPOINT_URL']}/secret/some/shards", "train")  # nobody signs over plain http


def test_an_altered_shard_never_enters_the_cache(local: Path, tmp_path: Path) -> None:
    write_latents(tmp_path / "shards", 4, 4)
    shard = tmp_path / "shards" / "train-000000.tar"
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(bytes(content))
    upload(tmp_path / "shards", "altered")
    with pytest.raises(BadShardError, match=r"train-000000\.tar.*checksum"):
        batches(open_shards("s3://altered/some/shards", "train", Cache(tmp_path / "cache", 1.0)), 1)
    assert not list((tmp_path / "cache").glob("*/*.tar"))
