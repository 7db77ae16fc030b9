"""Folders of pictures become shards, by the command's own configuration."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from fieldforge.data.image_schema import IMAGE
from fieldforge.data.manifest import read_manifest
from fieldforge.data.reader import ShardReader
from fieldforge.data.shards import open_shards
from fieldforge.errors import UserError
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.prepare import run_preparation


def configured(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("prepare", list(overrides))


def png(color: str | tuple[int, ...], size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG")
    return buffer.getvalue()


def prepared(folder: Path, *overrides: str, output: str = "out") -> dict[str, dict]:
    """Samples by id."""
    run_preparation(configured(
        "source=pictures", f"source.path={folder}", f"output={folder.parent / output}", "workers=1",
        "preparation.size=16", *overrides,
    ))  # fmt: skip
    samples = {}
    for split in read_manifest(folder.parent / output).shards.splits:
        shards = open_shards(folder.parent / output, split)
        reader = ShardReader(shards)
        for shard, count in enumerate(shards.samples_per_shard):
            for number in range(count):
                sample = reader.read(shard, number)
                samples[sample["meta.json"]["id"]] = {name: sample[name] for name in ("meta.json", "image.png")}
    return samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    files = {
        "cats/red.png": png("red"),
        "dogs/blue one.PNG": png("blue"),
        "green.png": png((0, 255, 0, 128), mode="RGBA"),
        "notes.txt": b"none",
        ".hidden.png": png("red"),
    }
    for name, payload in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(payload)
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("birds/white.png", png("white"))
    return folder


def test_folders_are_classes_and_names_are_captions(folder: Path):
    samples = prepared(folder)
    metas = {key: sample["meta.json"] for key, sample in samples.items()}
    assert {key: (meta["class"], meta["captions"]) for key, meta in metas.items()} == {
        "cats/red.png": ("cats", ["red"]),
        "dogs/blue one.PNG": ("dogs", ["blue one"]),
        "green.png": ("other", ["green"]),
        "more.zip/birds/white.png": ("birds", ["white"]),
    }
    assert read_manifest(folder.parent / "out").schema == IMAGE
    assert read_manifest(folder.parent / "out").extra["classes"] == {"birds": 1, "cats": 1, "dogs": 1, "other": 1}
    np.testing.assert_array_equal(samples["cats/red.png"]["image.png"], np.full((16, 16, 3), [255, 0, 0]))
    np.testing.assert_array_equal(samples["green.png"]["image.png"], np.full((16, 16, 4), [0, 255, 0, 128]))
    white = prepared(folder, "preparation.alpha=white", output="white")
    np.testing.assert_array_equal(white["green.png"]["image.png"], np.full((16, 16, 3), [127, 255, 127]))


def test_a_table_says_what_pictures_show(folder: Path):
    rows = [
        {"file": "cats/red.png", "caption": "a red cat", "class": "pets", "split": "heldout", "licence": "CC0-1.0"},
        {"file": "green.png", "name": "lawn", "captions": ["grass", "a lawn"], "split": "train"},
    ]
    (folder.parent / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    metas = {
        key: one["meta.json"] for key, one in prepared(folder, f"source.labels={folder.parent}/table.jsonl").items()
    }
    red, green = metas["cats/red.png"], metas["green.png"]
    assert (red["captions"], red["class"], red["split"], red["licence"]) == (
        ["a red cat"],
        "pets",
        "heldout",
        "CC0-1.0",
    )
    assert green["captions"] == ["grass", "a lawn", "lawn"]
    assert metas["dogs/blue one.PNG"]["captions"] == ["blue one"]


def test_the_square_is_the_middle_and_smaller_pictures_stay(tmp_path: Path):
    (tmp_path / "a").mkdir()
    stripes = np.zeros((20, 60, 3), np.uint8)
    stripes[:, 20:40] = 255
    Image.fromarray(stripes).save(tmp_path / "a" / "wide.png")
    Image.new("RGB", (20, 20)).save(tmp_path / "a" / "small.png")
    samples = prepared(tmp_path / "a", "preparation.size=32", "preparation.limits.max_aspect=3")
    np.testing.assert_array_equal(samples["wide.png"]["image.png"], np.full((20, 20, 3), 255))
    notes = (tmp_path / "out" / "notes.jsonl").read_text()
    assert notes.count("fewer than preparation.size=32") == 2


def test_what_cannot_be_used_is_rejected_with_the_reason(folder: Path):
    pytest.importorskip("resvg_py")
    bad = {
        "empty.png": b"",
        "cut.png": png("red", (200, 200))[:-30],
        "text.jpg": b"hello",
        "tiny.png": png("red", (4, 4)),
        "strip.png": png("red", (400, 20)),
        "clear.png": png((0, 0, 0, 0), mode="RGBA"),
        "page.png": b"<html>",
        "huge.png": png(0, (3000, 3000), "1"),
        "thief.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd" width="9" height="9"/></svg>',
        "broken.svg": b"<svg",
    }
    for name, payload in bad.items():
        (folder / name).write_bytes(payload)
    assert len(prepared(folder, "preparation.limits.max_megapixels=5")) == 4
    rejected = map(json.loads, (folder.parent / "out" / "rejected.jsonl").read_text().splitlines())
    reasons = {line["id"]: line["reason"] for line in rejected}
    assert reasons.keys() == bad.keys()
    for name, text in {
        "empty.png": "is empty",
        "text.jpg": "it is no picture",
        "tiny.png": "4 x 4 pixels",
        "strip.png": "400 x 20",
        "clear.png": "transparent everywhere",
        "page.png": "web page",
        "huge.png": "too many",
        "cut.png": "cannot be read",
        "thief.svg": "outside of itself",
        "broken.svg": "cannot be drawn",
    }.items():
        assert text in reasons[name], reasons[name]


def test_a_drawing_has_the_colours_and_places_of_its_shapes(tmp_path: Path):
    pytest.importorskip("resvg_py")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "half.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><defs><path id="p" d="M0 0h5v10h-5z"/></defs>'
        '<use href="#p" fill="#ff8000"/></svg>'
    )
    pixels = prepared(tmp_path / "a")["half.svg"]["image.png"]
    np.testing.assert_array_equal(pixels[:, :8], np.full((16, 8, 4), [255, 128, 0, 255]))
    assert not pixels[:, 8:, 3].any()


def test_a_choice_of_the_command_line_stands_before_the_source_s(folder: Path):
    assert configured("source=pictures").preparation.size == 256
    assert "surface" in configured("source=folder").preparation
    with pytest.raises(UserError, match=r"unknown config key preparation\.surface"):
        run_preparation(
            configured("source=pictures", f"source.path={folder}", f"output={folder}x", "+preparation.surface=3")
        )
    with pytest.raises(UserError, match=r"source\.path=nowhere: there is no such folder or zip"):
        run_preparation(configured("source=pictures", "source.path=nowhere", f"output={folder.parent}/x"))
