"""`python prepare.py`: its configuration, and the sentences for mistakes in it."""

import logging
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from tests.preparation.make import write_cubes, write_library

from fieldforge.configuration.build import build
from fieldforge.data.manifest import PREPARED, read_manifest
from fieldforge.data.shards import open_shards
from fieldforge.errors import UserError
from fieldforge.preparation import pipeline
from fieldforge.preparation.shape_recipe import ShapeRecipe
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.prepare import run_preparation

TINY = [
    "preparation.surface.points=32", "preparation.distance.near_points=32", "preparation.distance.volume_points=32",
    "preparation.views.count=2", "preparation.views.size=16", "workers=1",
]  # fmt: skip


def configured(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("prepare", list(overrides))


@pytest.mark.parametrize("preparation", ["full", "embedded"])
@pytest.mark.parametrize("source", ["furniture", "furniture_cc0", "folder"])
def test_every_choice_can_be_built(source: str, preparation: str):
    path = ["source.path=x"] if source == "folder" else []
    config = configured(f"source={source}", f"preparation={preparation}", "output=x", *path)
    build(config, "source")
    settings = build(config, "preparation")
    assert settings.heldout_share == 0.1
    assert settings.distance.near_std == (0.01, 0.05)


def test_a_folder_is_prepared_by_its_configuration(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_cubes(tmp_path / "assets", 2)
    config = configured("source=folder", f"source.path={tmp_path}/assets", f"output={tmp_path}/out", *TINY)
    with caplog.at_level(logging.INFO):
        run_preparation(config)
    assert "2 assets: " in caplog.text
    assert "CPU-seconds an asset, workers=1" in caplog.text
    assert sum(entry.samples for entry in read_manifest(tmp_path / "out").shards) == 2
    with caplog.at_level(logging.INFO):
        run_preparation(config)
    assert "nothing was left to do" in caplog.text


def test_a_call_that_only_writes_the_shards_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    write_cubes(tmp_path / "assets", 2)
    config = configured("source=folder", f"source.path={tmp_path}/assets", f"output={tmp_path}/out", *TINY)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_write", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_preparation(config)
    with caplog.at_level(logging.INFO):
        run_preparation(config)
    assert "only the shards were left to write" in caplog.text
    assert "nothing was left to do" not in caplog.text


def test_a_library_is_prepared_by_its_configuration(tmp_path: Path):
    write_library(tmp_path / "test.sh3f")
    overrides = [f"source.folder={tmp_path}", "source.libraries=[test]", f"output={tmp_path}/out", *TINY]
    run_preparation(configured("source=furniture", *overrides))
    manifest = read_manifest(tmp_path / "out")
    assert manifest.settings["recipe"] == ShapeRecipe.version
    assert manifest.extra["classes"] == {"other": 1, "storage": 1}
    rejected = (tmp_path / "out" / "rejected.jsonl").read_text()
    assert re.search(r"Test#decal.*it is flat: its thickness is 0\.01%", rejected)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("preparation.surface.points=0", r"preparation\.surface\.points = 0 is not a whole number of at least 1"),
        ("preparation.surface.points=many", r"preparation\.surface\.points.*'many' is not a whole number"),
        ("preparation.distance.near_std=[]", r"preparation\.distance\.near_std=\[\] must hold numbers above 0"),
        ("preparation.distance.epsilon=-1", r"preparation\.distance\.epsilon=-1 must lie in"),
        ("preparation.views.fov_y_degrees=200", r"fov_y_degrees=200 must lie in 1…120"),
        ("preparation.views.shading=2", r"shading = 2 is not a number from 0 to 1"),
        ("preparation.limits.max_triangles=-5", r"max_triangles = -5 is not a whole number of at least 1"),
        ("preparation.limits.min_thickness=1", r"min_thickness=1 must lie in"),
        ("preparation.heldout_share=1", r"heldout_share = 1 is not a number of at least 0 and below 1"),
        ("preparation.samples_per_shard=0", r"samples_per_shard = 0 is not a whole number of at least 1"),
        ("+preparation.views.color=red", r"unknown config key preparation\.views\.color"),
        ("workers=0", r"workers = 0 must be a whole number from 1 to 4096"),
        ("seed=x", r"seed = 'x' must be a whole number from 0 to"),
        ("source.path=nowhere", r"source\.path=nowhere: there is no such folder or zip"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, override: str, message: str):
    path = [] if override.startswith("source.path") else [f"source.path={tmp_path}"]
    config = configured("source=folder", f"output={tmp_path}/out", *path, override)
    with pytest.raises(UserError, match=message):
        run_preparation(config)


def test_unknown_keys_are_refused():
    with pytest.raises(ConfigCompositionException, match=r"preparation\.points"):
        configured("source=folder", "preparation.points=5")


@pytest.mark.parametrize(
    ("arguments", "code", "output"),
    [
        (["--help"], 0, "python prepare.py source=folder source.path=my_meshes"),
        ([], 2, "^error: there is nothing to prepare: choose what to make shards of .*\n$"),
        (["embed=text"], 2, "^error: embed= needs the shards to embed"),
        (["source=folder"], 2, "error: .*source.path"),
    ],
)
def test_the_command_line(arguments: list[str], code: int, output: str):
    command = [sys.executable, str(CONFIGS.parent / "prepare.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CONFIGS.parent)
    assert done.returncode == code, done.stderr
    assert re.search(output, done.stdout + done.stderr)
    assert "None" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_source_without_assets_leaves_no_folder(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="the source holds no assets"):
        run_preparation(configured("source=folder", f"source.path={tmp_path}/empty", f"output={tmp_path}/out", *TINY))
    assert not (tmp_path / "out").exists()


def test_where_configured_shards_are_missing_the_command_is_named_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    texts = [file.read_text() for file in (CONFIGS / "data").glob("*.yaml")]
    roots = {root for text in texts for root in re.findall(r"^root: ([\w/]+)$", text, re.MULTILINE)}
    assert roots == set(PREPARED)
    monkeypatch.chdir(tmp_path)
    for root, command in PREPARED.items():
        source = re.match(r"source=(\w+)", command)[1]
        output = OmegaConf.to_container(configured(*command.split()))["output"]
        assert output.replace("${hydra:runtime.choices.source}", source) == root
        with pytest.raises(UserError, match=rf"prepare the data first \(python prepare\.py {command}\)"):
            open_shards(root, "train")
    with pytest.raises(UserError, match=r"source\.path=<your meshes>, or source=pictures, with output=shards/mine\)"):
        read_manifest("shards/mine")
