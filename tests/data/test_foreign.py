"""Tars of pictures as img2dataset and webdataset write them are read as they are."""

import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image
from tests.data.make import write_spheres

from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.image_transforms import Pixels
from fieldforge.data.manifest import MANIFEST_NAME
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Labels, Meta
from fieldforge.errors import UserError
from fieldforge.storage.store import BadShardError


def picture(number: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 10, 20)).save(buffer, kind)
    return buffer.getvalue()


def write_tar(path: Path, files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, payload in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            archive.addfile(info, io.BytesIO(payload))
    return path


def img2dataset(folder: Path, shards: int = 2, each: int = 5) -> Path:
    for shard in range(shards):
        files: dict[str, bytes] = {}
        for number in range(shard * each, shard * each + each):
            key = f"{shard:05d}{number:04d}"
            about = {"caption": f"colour {number}", "url": "u", "key": key, "status": "success", "error_message": None}
            files |= {f"{key}.jpg": picture(number, "PNG"), f"{key}.json": json.dumps(about).encode()}
            files[f"{key}.txt"] = f"colour {number}".encode()
        write_tar(folder / f"{shard:05d}.tar", files)
        (folder / f"{shard:05d}_stats.json").write_text("{}")
        (folder / f"{shard:05d}.parquet").touch()
    return folder


def module(root: object, **options: Any) -> ShardDataModule:
    transforms = {"pixels": Pixels(8), "labels": Labels(), "meta": Meta()}
    return ShardDataModule(root, transforms, batch_size=2, **options)  # type: ignore[arg-type]


def epoch(root: object, samples: int, **options: Any) -> list[dict[str, Any]]:
    batches = iter(module(root, **options).stream(2))
    return [next(batches) for _ in range(samples // 2)]


def colors(batches: list[dict[str, Any]]) -> list[int]:
    return [round((value + 1) * 127.5) for batch in batches for value in batch["input"][:, 0, 0, 0].tolist()]


def test_img2dataset_s_folders_are_read_as_they_are(tmp_path: Path):
    folder = img2dataset(tmp_path)
    batches = epoch(folder, 10)
    assert sorted(colors(batches)) == list(range(10))
    for batch in batches:
        assert batch["caption"] == [f"colour {color}" for color in colors([batch])]  # each has its own
    assert not (folder / MANIFEST_NAME).exists()
    assert sorted(colors(epoch(f"{folder}/{{00000..00001}}.tar", 10))) == list(range(10))
    assert sorted(set(colors(epoch(f"{folder}/00001.tar", 10)))) == list(range(5, 10))
    assert sorted(colors(epoch(f"{folder}/*.tar", 10))) == list(range(10))


def test_the_stream_is_exact_and_resumes(tmp_path: Path):
    folder = img2dataset(tmp_path)
    whole = epoch(folder, 40, seed=3)
    batches = iter(module(folder, seed=3).stream(2, position=14))
    for batch in whole[7:]:
        assert torch.equal(next(batches)["input"], batch["input"])


def test_what_webdataset_writes_and_names_of_all_lengths_are_read(tmp_path: Path):
    deep = "train/" + "n" * 120 + "/img"
    with webdataset.TarWriter(str(tmp_path / "imagenet-train-000000.tar")) as writer:
        for number in range(3):
            image = np.full((8, 8, 3), number, np.uint8)
            writer.write({"__key__": f"{deep}{number}", "png": image, "cls": number})
    write_tar(tmp_path / "imagenet-val-0.tar", {"./a.b/c.JPG": picture(9), "./a.b/c.cls": b"cat\n"}, tarfile.GNU_FORMAT)
    batches = epoch(tmp_path, 6)
    assert sorted(set(colors(batches))) == [0, 1, 2]
    assert {name for batch in batches for name in batch["class"]} == {"0", "1", "2"}
    shards = open_shards(tmp_path, "heldout")
    assert (shards.samples, shards.classes) == (1, ["0", "1", "2", "cat"])
    (batch,) = module(tmp_path).val_dataloader()
    assert (batch["meta"][0]["id"], batch["class"], batch["caption"]) == ("a.b/c", ["cat"], ["cat"])


def test_members_that_belong_to_no_picture_are_passed_over(tmp_path: Path):
    write_tar(tmp_path / "0.tar", {
        "readme.md": b"x", "a.jpg": picture(1), "a.txt": b"one", "failed.json": b"{}", "b.mask.png": picture(99),
        "b.png": picture(2), "b.caption": b"two", "list.txt": b"x",
    })  # fmt: skip
    batches = epoch(tmp_path, 10)
    assert set(colors(batches)) == {1, 2}
    assert {text for batch in batches for text in batch["caption"]} == {"one", "two"}


def test_the_index_is_made_once_and_anew_for_what_has_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = img2dataset(tmp_path)
    first = open_shards(folder, "train").manifests[0].fingerprint
    index = folder / ".fieldforge" / "00000.index.json"
    before = index.stat().st_mtime_ns
    os.utime(folder / "00001.tar")
    assert open_shards(folder, "train").manifests[0].fingerprint == first  # the same bytes
    write_tar(folder / "00002.tar", {"x.jpg": picture(77), "x.txt": b"more"})
    changed = open_shards(folder, "train")
    assert (changed.samples, len(changed)) == (11, 3)
    assert changed.manifests[0].fingerprint != first
    assert index.stat().st_mtime_ns == before


def test_a_folder_that_cannot_be_written_has_its_index_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = img2dataset(tmp_path / "data")
    (folder / ".fieldforge").touch()  # no folder can be made there, not even by root
    monkeypatch.setenv("FIELDFORGE_CACHE", str(tmp_path / "cache"))
    assert open_shards(folder, "train").samples == 10
    assert list((tmp_path / "cache" / "indexes").glob("*/manifest.json"))


@pytest.mark.parametrize("damage", ["picture", "cut", "header"])
def test_damage_is_what_on_bad_shard_says(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture):
    files = {f"{number}.jpg": picture(number) for number in range(6)}
    files |= {f"{number}.txt": b"a" for number in range(6)}
    files = dict(sorted(files.items()))
    if damage == "picture":
        files["3.jpg"] = files["3.jpg"][:40]
    path = write_tar(tmp_path / "0.tar", files)
    payload = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        start = archive.getmember("3.jpg").offset
    if damage == "cut":
        path.write_bytes(payload[: start + 540])
    if damage == "header":
        payload[start + 148 : start + 156] = b"damaged!"
        path.write_bytes(payload)
    with pytest.raises(BadShardError, match=r"0\.tar"):
        epoch(tmp_path, 40)
    seen = set(colors(epoch(tmp_path, 40, on_bad_shard="skip")))
    assert seen == ({0, 1, 2, 4, 5} if damage == "picture" else {0, 1, 2})
    assert "skipped: " in caplog.text


def test_a_tar_that_changes_under_a_training_is_noticed(tmp_path: Path):
    folder = img2dataset(tmp_path)
    stream = module(folder).stream(2)
    with (folder / "00000.tar").open("r+b") as file:
        file.seek(600)
        file.write(b"other")
    with pytest.raises(BadShardError, match="checksum"):
        for _, _ in zip(range(10), stream, strict=False):
            pass


def test_what_is_no_picture_data_is_one_sentence(tmp_path: Path):
    write_spheres(tmp_path / "shapes", 2, 2)
    (tmp_path / "shapes" / MANIFEST_NAME).unlink()
    with pytest.raises(UserError, match=r"no manifest, and no tar holds a picture .* -m fieldforge\.data\.index"):
        open_shards(tmp_path / "shapes", "train")
    files = {"a.jpg": picture(0), "b.jpg": picture(1), "a.txt": b"a", "b.txt": b"b"}
    write_tar(tmp_path / "mixed" / "0.tar", files)
    with pytest.raises(UserError, match=r"0\.tar: .*not beside each other"):
        open_shards(tmp_path / "mixed", "train")
