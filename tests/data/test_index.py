"""Shards that plain webdataset's writer made are indexed, checked and streamed."""

import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import webdataset
from tests.data.make import latent_sample, sphere_sample, write_latents

from fieldforge.data.index import main
from fieldforge.data.order import Mixing
from fieldforge.data.shards import open_shards
from fieldforge.data.stream import SampleStream
from fieldforge.data.transforms import Latent, Meta


def write_with_webdataset(folder: Path, schema: str = "latent", **changes: object) -> None:
    folder.mkdir()
    make = latent_sample if schema == "latent" else sphere_sample
    for shard in range(2):
        with webdataset.TarWriter(str(folder / f"train-{shard:03d}.tar")) as writer:
            for number in range(3 * shard, 3 * shard + 3):
                sample = {**make(f"s{number}"), **changes}
                encoded = {name: value for name, value in sample.items() if value is not None}
                writer.write({"__key__": f"s{number}", **encoded})


def test_shards_of_webdatasets_writer_are_read(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_with_webdataset(tmp_path / "shards")
    assert main([str(tmp_path / "shards"), "--schema", "latent"]) == 0
    assert "2 shards, 6 samples" in capsys.readouterr().out
    shards = open_shards(tmp_path / "shards", "train")
    stream = SampleStream(shards, [Latent(), Meta()], seed=0, batch_size=2, mixing=Mixing())
    for batch in islice(stream, 3):
        for latent, meta in zip(batch["latent"], batch["meta"], strict=True):
            np.testing.assert_array_equal(latent, latent_sample(meta["id"])["latent.npy"])
    assert main([str(tmp_path / "shards"), "--check"]) == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"latent.npy": None}, "latent.npy"),
        ({"latent.npy": np.zeros((2, 3), np.float64)}, "float32"),
        ({"meta.json": {"id": "x"}}, "name"),
        ({"other.npy": np.zeros(3)}, "other.npy"),
    ],
)
def test_samples_outside_the_schema_are_named(
    tmp_path: Path, changes: dict, named: str, capsys: pytest.CaptureFixture
) -> None:
    write_with_webdataset(tmp_path / "shards", **changes)
    assert main([str(tmp_path / "shards"), "--schema", "latent"]) == 2
    error = capsys.readouterr().err
    assert "s0" in error
    assert named in error
    assert not (tmp_path / "shards" / "manifest.json").exists()


def test_tars_that_are_no_shards_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(tmp_path)]) == 2
    assert "holds no shard" in capsys.readouterr().err
    shard = tmp_path / "train-000.tar"
    for content in (b"", b"no tar at all" * 100):
        shard.write_bytes(content)
        assert main([str(tmp_path)]) == 2
        assert "train-000.tar" in capsys.readouterr().err
    with tarfile.open(shard, "w") as tar:
        member = tarfile.TarInfo("../escape.npy")
        tar.addfile(member)
    assert main([str(tmp_path)]) == 2
    assert "escape" in capsys.readouterr().err


def test_check_finds_one_changed_bit(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_latents(tmp_path, 4, 2)
    assert main([str(tmp_path), "--check"]) == 0
    shard = tmp_path / "train-000001.tar"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1  # in the padding, which no sample covers
    shard.write_bytes(bytes(content))
    assert main([str(tmp_path), "--check"]) == 2
    assert "train-000001.tar" in capsys.readouterr().err
