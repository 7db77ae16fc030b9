"""Emoji out of npm packages, and the embedded ones."""

import base64
import hashlib
import io
import json
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from fieldforge.configuration.build import build
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.image_schema import IMAGE
from fieldforge.data.index import check_folder
from fieldforge.data.reader import ShardReader
from fieldforge.data.shards import open_shards
from fieldforge.errors import UserError
from fieldforge.preparation.images.emoji import EmojiSource
from fieldforge.preparation.images.npm import NpmPackage
from fieldforge.runs.entry import CONFIGS

EMBEDDED = CONFIGS.parent / "data" / "emoji_64"


def package(folder: Path, name: str, files: dict[str, object]) -> NpmPackage:
    """As `npm pack` writes it."""
    path = folder / f"{name}-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for file, value in files.items():
            payload = json.dumps(value).encode()
            info = tarfile.TarInfo(f"package/{file}")
            info.size = len(payload)
            archive.addfile(info, io.BytesIO(payload))
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    return NpmPackage(name, "1.0.0", f"sha512-{digest}")


@pytest.fixture
def source(tmp_path: Path) -> EmojiSource:
    icons = ("red-heart", "cook", "cook-dark-skin-tone", "hands-dark-skin-tone-light-skin-tone", "old-name")
    drawings = package(tmp_path, "drawings", {
        "icons.json": {"width": 8, "height": 8, "icons": {icon: {"body": "<path d='M0 0h8v8z'/>"} for icon in icons}},
        "metadata.json": {"categories": {"Love & Co": ["red-heart"], "People": list(icons[1:4])}},
        "chars.json": {"2764": "red-heart", "1f9d1-200d-1f373": "cook"},
    })  # fmt: skip
    listed = {"\u2764\ufe0f": ["red_heart", "love", "<3", "in love"], "\U0001f9d1\u200d\U0001f373": ["chef"]}
    words = package(tmp_path, "words", {"dist/emoji-en-US.json": listed})
    classes = {"Love & Co": "love", "People": "people"}
    return EmojiSource(
        drawings, words, str(tmp_path / "cache"), str(tmp_path), False, classes, "Test", "Apache-2.0", "me"
    )


def test_names_keywords_and_categories_are_captions(source: EmojiSource):
    cook, heart = source.records(2**20)
    assert (heart.id, heart.name, heart.asset_class, heart.tags) == (
        "red-heart",
        "red heart",
        "love",
        ("love", "in love"),
    )
    assert heart.captions == ("red heart", "red heart emoji", "red heart, love and co", "red heart, love, in love")
    assert cook.captions == ("cook", "cook emoji", "cook, people", "cook, chef")


def test_colours_of_skin_are_variants_of_one_thing(source: EmojiSource):
    toned = EmojiSource(**{**source.__dict__, "skin_tones": True}).records(2**20)
    assert [(record.name, record.captions[0]) for record in toned] == [
        ("cook", "cook"),
        ("cook", "cook with dark skin tone"),
        ("hands", "hands with dark skin tone and light skin tone"),
        ("red heart", "red heart"),
    ]


def test_other_bytes_than_those_of_the_version_are_refused(source: EmojiSource, tmp_path: Path):
    (tmp_path / "words-1.0.0.tgz").write_bytes(b"other")
    with pytest.raises(UserError, match=r"words-1\.0\.0\.tgz: its checksum is not that of words 1\.0\.0"):
        source.records(2**20)
    (tmp_path / "words-1.0.0.tgz").unlink()
    with pytest.raises(UserError, match=r"holds no words-1\.0\.0\.tgz; where npm is, run 'npm pack words@1\.0\.0'"):
        source.records(2**20)


def test_a_package_that_npm_cannot_fetch_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wanted = NpmPackage("@a/b", "1.0.0", "sha512-")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match="npm is not here: where npm is, run"):
        wanted.path(tmp_path, None)
    monkeypatch.setattr("shutil.which", lambda name: name)
    failed = subprocess.CompletedProcess([], 1, "", "npm error\nnpm error 404 not found")
    monkeypatch.setattr("subprocess.run", lambda *arguments, **options: failed)
    with pytest.raises(UserError, match=r"'npm pack @a/b@1\.0\.0.*' failed \(npm error 404 not found\)"):
        wanted.path(tmp_path, None)


def test_the_embedded_emoji_are_whole_and_what_their_page_says():
    manifest = check_folder(EMBEDDED)
    assert manifest.schema == IMAGE
    classes: Counter[str] = Counter()
    for split, count in (("train", 1515), ("heldout", 174)):
        shards = open_shards(EMBEDDED, split)
        assert shards.samples == count
        reader = ShardReader(shards)
        for shard, samples in enumerate(shards.samples_per_shard.tolist()):
            for number in range(samples):
                sample = reader.read(shard, number)
                meta, pixels = sample["meta.json"], sample["image.png"]
                assert pixels.shape in ((64, 64, 3), (64, 64, 4))
                assert len(meta["captions"]) in (3, 4)
                assert meta["split"] == split
                classes[meta["class"]] += 1
                if pixels.shape[2] == 4:
                    rows, columns = np.nonzero(pixels[..., 3] > 8)
                    middle = (np.array([rows.min() + rows.max(), columns.min() + columns.max()]) - 63) / 2
                    assert np.ptp(rows) + np.ptp(columns) > 30, meta["id"]  # nothing is lost in a corner
                    assert np.abs(middle).max() < 20, meta["id"]  # a speedboat floats low
    assert classes == manifest.extra["classes"]
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir()) < 10 * 2**20


def test_embedded_emoji_have_their_colours():
    shards = open_shards(EMBEDDED, "train")
    reader = ShardReader(shards)
    wanted = {"green-heart": (1, 0), "orange-heart": (0, 2), "blue-circle": (2, 0), "red-apple": (0, 1)}
    seen = {}
    for shard, samples in enumerate(shards.samples_per_shard.tolist()):
        for number in range(samples):
            sample = reader.read(shard, number)
            if (name := sample["meta.json"]["id"]) in wanted:
                more, less = wanted[name]
                color = sample["image.png"][32, 32].astype(int)
                seen[name] = color[more] - color[less]
    assert len(seen) >= 3
    assert min(seen.values()) > 40, seen


def test_the_embedded_emoji_are_batches_by_their_configuration():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("data/emoji", [f"data.root={EMBEDDED}", "+seed=0"])
    module: ShardDataModule = build(config, "data", batch_size=4, seed=0, num_workers=0)
    batch = next(iter(module.stream(4)))
    assert batch["input"].shape == (4, 3, 64, 64)
    assert batch["input"].min() >= -1
    assert batch["input"].max() == 1  # white around
    assert set(batch) == {"input"}  # an autoencoder reads no more
