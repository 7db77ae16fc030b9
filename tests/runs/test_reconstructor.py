"""experiment=image_to_mesh: two steps of each stage, and sample.py with pictures and their cameras."""

import json
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image
from tests.runs.test_experiments import composed, small
from tests.runs.tiny import FOV_Y, ball

from fieldforge.asking import reconstructor
from fieldforge.errors import UserError
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.train import run_training


@pytest.fixture(scope="module")
def trained(balls, tmp_path_factory):
    outputs = tmp_path_factory.mktemp("reconstructor")
    config = composed("image_to_mesh", *small("image_to_mesh", balls), f"output_dir={outputs}")
    done = run_training(config)
    assert list(done) == ["autoencoder", "mesh"]
    assert all(stage.finished for stage in done.values())
    return outputs


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder, sample = tmp_path_factory.mktemp("photographs"), ball(0.6, "red", "heldout", 0, size=64)
    frames = []
    for view, pose in enumerate(sample["cameras.npy"]):
        Image.fromarray(sample[f"view_{view:03d}.png"]).save(folder / f"{view}.png")
        frames.append({"file_path": f"{view}.png", "transform_matrix": pose.tolist()})
    (folder / "cameras.json").write_text(json.dumps({"camera_angle_y": FOV_Y, "frames": frames}))
    return folder


def asked(outputs, *words):
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        return run_sampling(compose("sample", [f"output_dir={outputs}", "resolution=8", *words]))


def test_meshes_of_pictures_with_cameras_and_of_one_without(trained, photographs):
    page = asked(trained, f"views={photographs}")
    (entry,) = json.loads((page.parent / "samples.json").read_text())["samples"]
    assert entry["views"] == str(photographs)
    assert entry["pictures"] == 3
    assert (page.parent / entry["thumbnail"]).is_file()
    page = asked(
        trained, f"run={trained}/image_to_mesh", f"image=[{photographs}/0.png,{photographs}/1.png]", "azimuth=0"
    )
    entries = json.loads((page.parent / "samples.json").read_text())["samples"]
    assert [entry["image"] for entry in entries] == [f"{photographs}/0.png", f"{photographs}/1.png"]
    assert {entry["pictures"] for entry in entries} == {1}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["prompt=a ball"], "prompt= has no effect on a reconstructor"),
        (["steps=4"], "steps= has no effect on a reconstructor"),
        (["image={photographs}/0.png"], "image= has no effect on a reconstructor"),
        (["elevation=3"], "elevation=3 has no effect without image="),
        (["elevation=100", "image={photographs}/0.png"], "elevation = 100 must be a number from -90 to 90"),
    ],
)
def test_options_without_effect_are_one_sentence(trained, photographs, words, sentence):
    with pytest.raises(UserError, match=sentence):
        asked(trained, f"views={photographs}", *(word.format(photographs=photographs) for word in words))


def test_an_autoencoder_of_points_takes_no_pictures(trained, photographs, monkeypatch):
    points = SimpleNamespace(reads=("input",))
    monkeypatch.setattr(reconstructor, "load_autoencoder", lambda path, device: (points, {}))
    with pytest.raises(UserError, match="its autoencoder reads input, not pictures with cameras"):
        asked(trained, f"views={photographs}")
