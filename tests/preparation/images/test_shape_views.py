"""Views of shapes become pictures with the words of their shapes."""

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from tests.data.make import write_latents

from fieldforge.data.manifest import read_manifest
from fieldforge.data.reader import ShardReader
from fieldforge.data.shards import open_shards
from fieldforge.errors import UserError
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.prepare import run_preparation

FURNITURE = CONFIGS.parent / "data" / "furniture_cc0"


def prepare(shards: Path, root: Path) -> None:
    values = [f"source.shards={shards}", f"source.cache={root}/cache", f"output={root}/out", "workers=1"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("prepare", ["source=views", *values])
    run_preparation(config)


def test_every_view_of_the_embedded_furniture_is_a_picture(tmp_path: Path):
    prepare(FURNITURE, tmp_path)
    assert read_manifest(tmp_path / "out").extra["splits"] == {"heldout": 4 * 16, "train": 4 * 159}
    shapes, pictures = (open_shards(folder, "heldout") for folder in (FURNITURE, tmp_path / "out"))
    samples = {}
    for number in range(64):
        sample = ShardReader(pictures).read(0, number)
        samples[sample["meta.json"]["id"]] = sample
    reader = ShardReader(shapes)
    for number in range(16):
        shape = reader.read(0, number)
        for view in range(4):
            picture = samples[f"{shape['meta.json']['id']}/view_{view:03d}"]
            np.testing.assert_array_equal(picture["image.png"], shape[f"view_{view:03d}.png"])
            for key in ("captions", "class", "captions_by_language", "creator"):
                assert picture["meta.json"][key] == shape["meta.json"][key]


def test_other_folders_are_one_sentence(tmp_path: Path):
    with pytest.raises(UserError, match=r"source\.shards=.*nowhere: there is no such folder"):
        prepare(tmp_path / "nowhere", tmp_path)
    write_latents(tmp_path / "latents", 2, 2)
    with pytest.raises(UserError, match=r"holds latent shards; give a folder of prepared shapes"):
        prepare(tmp_path / "latents", tmp_path)
