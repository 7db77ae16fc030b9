"""A run's id says what is in the shards and in the encoders, not where on a machine they lie."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conditioning.conftest import clip_folder  # noqa: F401 (a fixture)
from tests.runs.conftest import Place
from tests.runs.tiny import write_balls

from fieldforge.runs.train import run_training
from fieldforge.stages.diffusion_stage import DiffusionStage
from fieldforge.stages.fingerprint import fingerprint
from fieldforge.stages.prior_stage import PriorStage
from fieldforge.stages.samples import data_fingerprint
from fieldforge.stages.stage import StageResult

VIEW = "{_target_:fieldforge.conditioning.transforms.View,root:%s}"
STORED = ["conditioner/parts=[clip_text,clip_image]", "+embedded=stored"]
PRIOR = ["+training@training.prior=stage", "conditioner/parts=[clip_text,clip_image]", "+prior.source=clip_image"]


@pytest.fixture(scope="module")
def balls(tmp_path_factory) -> Path:
    """Not those of the session: features that are stored beside them are of one encoder."""
    return write_balls(tmp_path_factory.mktemp("balls"))


@pytest.fixture(scope="module")
def results(balls, tmp_path_factory):
    """What stands before a diffusion: an autoencoder and its latents."""
    place = Place(balls, tmp_path_factory.mktemp("before"))
    run = run_training(place.compose("stages=[autoencoder,latents]"))["autoencoder"]
    [latents] = (run.path / "latents").iterdir()
    return {"autoencoder": StageResult("autoencoder", run.path, run), "latents": StageResult("latents", latents)}


@pytest.fixture
def copy(balls: Path, tmp_path: Path) -> Path:
    return shutil.copytree(balls, tmp_path / "elsewhere" / "shards")


@pytest.fixture
def clip_elsewhere(clip_folder: Path, tmp_path: Path) -> Path:  # noqa: F811
    return shutil.copytree(clip_folder, tmp_path / "models" / "other name")


def of_diffusion(place: Place, results: dict[str, StageResult], *overrides: str) -> str:
    stage = DiffusionStage(place.compose(*overrides))
    stage.prepare(results)
    return fingerprint(stage.whole_identity())


def test_the_same_shards_and_encoder_elsewhere_are_the_same_diffusion(
    place, results, copy, clip_folder, clip_elsewhere, monkeypatch  # noqa: F811
):  # fmt: skip
    mine = of_diffusion(place, results, *STORED, f"conditioner.clip={clip_folder}")
    there = replace(place, data=copy)
    assert of_diffusion(there, results, *STORED, f"conditioner.clip={clip_elsewhere}") == mine
    monkeypatch.chdir(copy.parent)
    beside = replace(place, data=Path("shards"))
    assert of_diffusion(beside, results, *STORED, f"conditioner.clip={clip_folder}") == mine


def test_features_of_other_data_or_of_another_encoder_are_another_diffusion(
    place, results, tmp_path, clip_folder, clip_elsewhere  # noqa: F811
):  # fmt: skip
    mine = of_diffusion(place, results, *STORED, f"conditioner.clip={clip_folder}")
    others = replace(place, data=write_balls(tmp_path / "others", train=6))
    assert of_diffusion(others, results, *STORED, f"conditioner.clip={clip_folder}") != mine
    settings = clip_elsewhere / "preprocessor_config.json"
    settings.write_text(settings.read_text().replace("0.48", "0.5"))
    assert of_diffusion(place, results, *STORED, f"conditioner.clip={clip_elsewhere}") != mine


def test_a_run_is_found_again_beside_shards_that_were_moved(place, balls, copy):
    words = ["+embedded=views", "conditioner=class"]
    first = run_training(place.compose(*words))["diffusion"]
    again = run_training(replace(place, data=copy).compose(*words))["diffusion"]
    assert again.path == first.path
    assert str(balls) not in (first.path / "fingerprint.json").read_text()


def test_a_view_of_other_shards_is_other_data_of_an_autoencoder(place, balls, copy, tmp_path):
    def identity(root: Path) -> str:
        return fingerprint(data_fingerprint(place.compose(f"+data.transforms.view={VIEW % root}")))

    assert identity(copy) == identity(balls)
    assert identity(write_balls(tmp_path / "others", train=6)) != identity(balls)


def test_a_prior_elsewhere_is_the_same(place, copy, clip_folder, clip_elsewhere):  # noqa: F811
    def identity(place: Place, clip: Path) -> str:
        stage = PriorStage(place.compose(*PRIOR, "conditioner.sources=[clip_text]", f"conditioner.clip={clip}"))
        stage.prepare({})
        return fingerprint(stage.whole_identity())

    assert identity(replace(place, data=copy), clip_elsewhere) == identity(place, clip_folder)
