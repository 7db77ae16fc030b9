"""A model that hardly left the warm-up is called so: by its stage, and by the commands that use it."""

import logging

import pytest
from hydra import compose, initialize_config_dir
from tests.runs.conftest import Place

from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.train import run_training
from fieldforge.stages.locate import label_of

LONG_WARMUP = "training.autoencoder.budget={max_steps:5,warmup_steps:3}"


@pytest.fixture(scope="module")
def place(balls, tmp_path_factory):
    return Place(balls, tmp_path_factory.mktemp("untrained"))


@pytest.fixture(scope="module")
def short_run(place):
    return run_training(place.compose(LONG_WARMUP))


def command(name: str, *overrides: str):
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        return compose(name, list(overrides))


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if "untrained" in record.getMessage()]


def test_the_label_holds_the_steps(short_run):
    labels = {name: label_of(directory.model) for name, directory in short_run.items()}
    training = {name: (label["steps"], label["untrained"]) for name, label in labels.items()}
    assert training == {"autoencoder": (5, True), "diffusion": (6, False)}
    assert labels["diffusion"]["autoencoder"]["steps"] == 5


def test_the_stage_warns_and_one_that_warmed_up_does_not(place, caplog):
    with caplog.at_level(logging.WARNING):
        run_training(place.compose(LONG_WARMUP, "seed=7"))
    (warning,) = warnings(caplog)
    assert "its autoencoder is as good as untrained" in warning
    assert "ended at step 5" in warning
    assert "training.autoencoder.budget.max_minutes" in warning


def test_sampling_and_evaluation_warn_of_the_autoencoder_in_a_run(short_run, tmp_path, caplog):
    run = f"run={short_run['diffusion'].path}"
    with caplog.at_level(logging.WARNING):
        run_sampling(command("sample", run, "n=1", "steps=2", "resolution=16", f"output={tmp_path}/out"))
        (warning,) = warnings(caplog)
        caplog.clear()
        run_evaluation(
            command("evaluate", f"run={short_run['autoencoder'].path}", "reconstruction.resolution=16", "limit=1")
        )
    assert "its autoencoder is as good as untrained" in warning
    assert len(warnings(caplog)) == 1
