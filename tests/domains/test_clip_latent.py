"""Picture → clip, from shards to files: stages of two steps, samples, longer clips, figures, weights of pictures."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from tests.data.clip_shards import write_small_clips
from tests.runs.test_experiments import composed, small

from fieldforge.errors import UserError
from fieldforge.evaluation.clip_following import nearest_clips
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.train import run_training
from fieldforge.stages.directory import StageDirectory

Trained = Mapping[str, StageDirectory]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def words(place: Path) -> list[str]:
    write_small_clips(place / "clips")
    return [*small("clip_latent", place / "balls"), f"output_dir={place}/outputs"]


@pytest.fixture(scope="module")
def trained(words: list[str]) -> Trained:
    return run_training(composed("clip_latent", *words))


def command(name: str, *words: str):
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        return compose(name, list(words))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.full((30, 40, 3), 255, np.uint8)
    pixels[8:22, 10:30] = (200, 40, 40)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_picture_becomes_a_clip(trained: Trained, photo: Path, tmp_path: Path) -> None:
    run = f"run={trained['diffusion'].path}"
    run_sampling(command("sample", run, f"image={photo}", "n=1", "steps=2", "elevation=20", f"output={tmp_path}/out"))
    (entry,) = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert entry["elevation"] == 20
    with Image.open(tmp_path / "out" / entry["gif"]) as animation:
        assert (animation.n_frames, animation.size) == (4, (16, 16))  # type: ignore[attr-defined]
    assert Image.open(tmp_path / "out" / entry["strip"]).size == (64, 16)
    assert "data:image/gif" in (tmp_path / "out" / "index.html").read_text()


def test_a_longer_clip_begins_as_the_usual_one(trained: Trained, photo: Path, tmp_path: Path) -> None:
    made = {}
    for frames in (4, 9):
        words = [f"image={photo}", "n=1", "steps=2", f"frames={frames}", f"output={tmp_path}/{frames}"]
        run_sampling(command("sample", f"run={trained['diffusion'].path}", *words))
        (entry,) = json.loads((tmp_path / str(frames) / "samples.json").read_text())["samples"]
        with Image.open(tmp_path / str(frames) / entry["gif"]) as animation:
            made[frames] = animation.n_frames  # type: ignore[attr-defined]
    assert made == {4: 4, 9: 9}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "begins with a picture: give image="),
        (["image={blank}"], "the picture is blank"),
        (["image={photo}", "fps=8"], "fps=8 has no effect on this model"),
        (["image={photo}", "prompt=a chair"], "prompt= is given, but this model was not trained with it"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(
    trained: Trained, photo: Path, tmp_path: Path, given: list[str], sentence: str
) -> None:
    Image.new("RGB", (20, 20), "white").save(tmp_path / "blank.png")
    given = [word.format(photo=photo, blank=tmp_path / "blank.png") for word in given]
    with pytest.raises(UserError, match=sentence):
        run_sampling(command("sample", f"run={trained['diffusion'].path}", *given, f"output={tmp_path}/out"))


def test_the_report_names_the_model_and_its_baselines(trained: Trained) -> None:
    path = trained["diffusion"].path
    run_evaluation(command("evaluate", f"run={path}", "clips.steps=2"))
    report = json.loads((path / "evaluation" / "clips.json").read_text())
    ways = ["the model", "its frames one by one", "the first picture repeated", "the nearest training clip"]
    assert list(report["mean"]) == [*ways, "the autoencoder's own"]
    assert report["samples"] == 2
    assert report["mean"]["the first picture repeated"]["motion"] == 0
    assert (path / "evaluation" / "clips.png").is_file()


def test_the_second_denoiser_starts_from_the_first(trained: Trained, place: Path) -> None:
    runs = [json.loads(file.read_text()) for file in (place / "outputs" / "clip_latent").glob("*/fingerprint.json")]
    by_phase = {run.get("phase"): run for run in runs}
    assert by_phase["pictures"]["backbone"]["temporal"] is False
    assert by_phase[None]["init_from"] in {
        file.parent.name for file in trained["diffusion"].path.parent.glob("*/model.ckpt")
    }


def test_a_model_of_pictures_gives_its_weights(trained: Trained, words: list[str], place: Path) -> None:
    frames = next(
        path.parent
        for path in (place / "outputs" / "clip_autoencoder").glob("*/fingerprint.json")
        if json.loads(path.read_text()).get("phase") == "frames"
    )
    shared = [
        word for word in words if not word.startswith(("phases.", "domain.frames", "data.", "monitor.pictures.s"))
    ]
    pictures = [
        *("domain=frame", "data=orbits_cc0", "backbone=dit", "backbone.group=16", "backbone.condition_rank=32"),
        *("process=exploding", "parameterization=edm", "conditioner=class", "data.augment=null", "data.num_workers=0"),
        *(f"autoencoder_run={frames}", f"data.root={place}/clips", "data.transforms.clip=null", "name=frames_by_class"),
    ]
    first = run_training(composed("image_latent", *shared, *pictures))["diffusion"]
    start = [
        f"init_from={first.path}",
        f"autoencoder_run={trained['autoencoder'].path}",
        "stages=[autoencoder,latents,diffusion]",
    ]
    rest = [word for word in words if not word.startswith(("phases.", "training.autoencoder"))]
    done = run_training(composed("clip_latent", *rest, *start))["diffusion"]
    assert json.loads((done.path / "fingerprint.json").read_text())["init_from"] == first.fingerprint


def test_the_nearest_clip_is_turned_to_begin_at_its_nearest_frame() -> None:
    training = torch.arange(6.0).view(2, 1, 3, 1)  # two clips of three frames of one pixel, one at a time
    first = torch.tensor([[4.1], [0.2]])
    assert nearest_clips(first, training, turns=True)[:, :, 0].tolist() == [[4, 5, 3], [0, 1, 2]]
    assert nearest_clips(first, training, turns=False)[:, :, 0].tolist() == [[3, 4, 5], [0, 1, 2]]
