"""What is shown in FiftyOne, as far as it needs no FiftyOne."""

import json
import sys

import numpy as np
import open3d
import pytest
from PIL import Image
from tests.data.clip_shards import small_clip
from tests.runs.tiny import ball, write_balls

from fieldforge.asking.settings import SamplingSettings
from fieldforge.configuration.settings import read_settings
from fieldforge.errors import UserError
from fieldforge.viewing.commands import HOME, at_home, configured, samplers
from fieldforge.viewing.groups import plain
from fieldforge.viewing.run_choice import RunChoice, runs_below
from fieldforge.viewing.settings import ImportSettings
from fieldforge.viewing.stored_slices import default_slice, stored_files
from fieldforge.viewing.training_set import run_import

TEXT = 'it\'s a "red", [big] chair, {old} ${oc.env:HOME} = 3'


def asked(*words: str):
    return configured("fiftyone", dict(word.split("=", 1) for word in words))


def test_a_stored_shape_shows_its_views_and_its_points(tmp_path):
    sample = ball(0.5, "red", "train", 0)
    files = stored_files(sample, "sample", tmp_path, "a", views=2)
    assert list(files.slices) == ["view 1", "view 2"]
    assert default_slice("sample") in files.slices
    first = np.asarray(Image.open(files.slices["view 1"]))
    assert (first[8, 8] == sample["view_000.png"][8, 8, :3]).all(), "the ball is in the middle"
    cloud = open3d.io.read_point_cloud(str(files.cloud))
    np.testing.assert_array_equal(np.asarray(cloud.points, np.float16), sample["surface_points.npy"])
    np.testing.assert_array_equal(np.round(255 * np.asarray(cloud.colors)), sample["surface_colors.npy"])


def test_a_stored_clip_shows_its_first_frame_and_itself(tmp_path):
    files = stored_files(small_clip(3, 4, 16, "train"), "clip", tmp_path, "a")
    assert list(files.slices) == ["first frame", "clip"]
    assert files.slices["clip"].suffix == ".mp4"
    assert files.slices["clip"].stat().st_size > 500


def test_nothing_in_a_text_is_read_as_configuration():
    settings = read_settings(configured("sample", {"prompt": TEXT, "guidance.scale": 2, "n": 1}), SamplingSettings)
    assert settings.prompt == TEXT
    assert (settings.guidance.scale, settings.n, settings.sampler) == (2, 1, None)
    assert read_settings(configured("sample", {}, "unipc"), SamplingSettings).sampler is not None
    assert list(configured("compare", {"prompts": [TEXT], "guidance_scale": 2.0}).prompts) == [TEXT]


@pytest.mark.parametrize(
    ("values", "sampler", "sentence"),
    [({"colour": 3}, None, "colour"), ({"n": "many"}, None, "n = 'many'"), ({}, "magic", "magic")],
)
def test_a_value_that_the_command_does_not_take_is_a_sentence(values, sampler, sentence):
    with pytest.raises(UserError, match=sentence) as mistake:
        read_settings(configured("sample", values, sampler), SamplingSettings)
    assert "\n" not in str(mistake.value)
    assert "heun" in samplers()


def test_runs_are_told_by_their_small_files(tmp_path, caplog):
    for name, text in (("good", '{"stage": "diffusion"}'), ("damaged", "{"), ("other", '{"stage": "autoencoder"}')):
        folder = tmp_path / "tiny" / name
        folder.mkdir(parents=True)
        (folder / "model.ckpt").touch()
        (folder / "fingerprint.json").write_text(text)
        (folder / "config.yaml").write_text("domain: {_target_: fieldforge.domains.clip.ClipDomain}")
    own = [choice for choice in runs_below(str(tmp_path), "diffusion") if not choice.run.startswith("pretrained")]
    assert own == [RunChoice(str(tmp_path / "tiny" / "good"), "diffusion", "ClipDomain")]
    assert own[0].animates
    [warning] = caplog.messages
    assert str(tmp_path / "tiny" / "damaged") in warning
    assert "JSONDecodeError" in warning


def test_the_weights_in_the_box_are_offered():
    assert RunChoice("pretrained/shapes", "diffusion", "ShapeDomain") in runs_below("nowhere", "diffusion")


def test_relative_places_are_those_of_the_repository(tmp_path):
    assert [at_home(place) for place in ("pretrained/shapes", "hub:someone/something", str(tmp_path))] == [
        "pretrained/shapes", "hub:someone/something", str(tmp_path),
    ]  # fmt: skip
    assert at_home("data/furniture_cc0") == str(HOME / "data" / "furniture_cc0")
    assert at_home("outputs_of_nobody", there=False) == str(HOME / "outputs_of_nobody")


def test_values_keep_the_type_of_their_field():
    assert plain(np.float32(2)) == 2.0
    assert [plain(value) for value in (3, "a", True, ["a"], [1, 2.5])] == [3, "a", True, ["a"], [1.0, 2.5]]
    assert json.loads(plain({"text": 4.0})) == {"text": 4.0}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["shards=/nowhere"], "there is no manifest"),
        (["shards={balls}", "split=test"], "split=test: these shards have heldout, train"),
        (["shards={balls}", "name= "], "name= is empty"),
        (["shards={balls}", "views=0"], "views = '0'"),
    ],
)
def test_mistakes_of_the_import_are_one_sentence(tmp_path, words, sentence):
    balls = write_balls(tmp_path / "balls", train=3, heldout=3)
    with pytest.raises(UserError, match=sentence):
        run_import(asked(*(word.format(balls=balls) for word in words), f"output={tmp_path}/out"))
    assert not (tmp_path / "out").exists()


def test_without_the_library_the_sentence_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(UserError, match=r"needs FiftyOne .*pip install '.\[fiftyone\]'"):
        run_import(asked(f"shards={write_balls(tmp_path / 'balls', 3, 3)}", f"output={tmp_path}/out"))
    assert not (tmp_path / "out").exists()


def test_a_dataset_is_called_as_the_folder_of_its_shards():
    settings = ImportSettings("data/furniture_cc0/", None, None, 4, None, "outputs", None)
    assert settings.dataset == "furniture_cc0"
    assert str(settings.folder) == "outputs/fiftyone/furniture_cc0"


@pytest.mark.parametrize("name", ["../x", "a/b", ".."])
def test_a_dataset_s_name_leads_nowhere_else(name: str):
    with pytest.raises(UserError, match="leads to another folder"):
        ImportSettings("data/furniture_cc0/", None, name, 4, None, "outputs", None)
