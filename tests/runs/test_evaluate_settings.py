"""Mistakes in evaluate.py's settings are one sentence each, before any model is loaded."""

import os
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tests.runs.conftest import ROOT

from fieldforge.configuration.settings import read_settings
from fieldforge.errors import UserError
from fieldforge.evaluation.settings import EvaluationSettings
from fieldforge.runs import evaluate
from fieldforge.runs import help as help_text
from fieldforge.runs.entry import CONFIGS, EXIT_USER_ERROR

POSITIVE = [
    *("reconstruction.resolution", "reconstruction.picture_size", "prompts.count", "prompts.resolution"),
    *("prompts.picture_size", "prompts.batch_size", "images.resolution", "images.pictures", "images.picture_size"),
    *("images.batch_size", "prior.pictures", "prior.picture_size"),
]
POSITIVE_OR_NULL = ["limit", "prompts.steps", "images.icons", "images.heldout", "images.steps", "prior.steps"]
NUMBERS = ["prompts.judged_guidance", "images.guidance", "prior.guidance"]
SEEDS = ["prompts.seeds", "prior.seeds"]


def command(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        return compose("evaluate", list(overrides))


def built(*overrides: str) -> EvaluationSettings:
    return read_settings(command(*overrides), EvaluationSettings)


def refused(*overrides: str) -> str:
    with pytest.raises(UserError) as mistake:
        built(*overrides)
    assert "\n" not in str(mistake.value)
    return str(mistake.value)


def test_the_defaults_pass_for_every_stage():
    for stage in evaluate.BY_STAGE:
        built().check_stage(stage)


def test_values_are_those_of_the_command_line():
    wanted = built("prompts.seeds=[4,5]", "data_root=[a,b]", "+domain.views=4", "images.steps=7")
    assert (wanted.prompts.seeds, wanted.data_root) == ([4, 5], ["a", "b"])
    assert (wanted.domain, wanted.images.steps) == ({"views": 4}, 7)


@pytest.mark.parametrize("choice", ["precision=bf16-mixed", "matmul=high", "compile=true"])
def test_the_arithmetic_of_samplers_is_not_for_an_autoencoder(choice):
    with pytest.raises(UserError, match=f"^{choice.partition('=')[0]}=.* is for samplers"):
        built(choice).check_stage("autoencoder")
    for stage in ("diffusion", "prior"):
        built(choice).check_stage(stage)


def test_help_shows_no_classes():
    shown = help_text.settings(CONFIGS / "commands" / "evaluate.yaml")
    assert "judged_guidance: 3.0" in shown
    assert "_target_" not in shown


@pytest.mark.parametrize("value", ["0", "abc", "1.5"])
@pytest.mark.parametrize("key", [*POSITIVE, *POSITIVE_OR_NULL])
def test_whole_numbers(key, value):
    assert f"{key} = " in refused(f"{key}={value}")


@pytest.mark.parametrize("key", [*POSITIVE, *NUMBERS, *SEEDS, "prompts.guidance"])
def test_only_some_may_be_null(key):
    assert f"{key} = None" in refused(f"{key}=null")
    block = key.partition(".")[0]
    assert f"config key {block} = None must be a block of settings" in refused(f"{block}=null")


@pytest.mark.parametrize("key", POSITIVE_OR_NULL)
def test_null_or_a_whole_number_passes(key):
    for value in ("null", "1"):
        built(f"{key}={value}")


@pytest.mark.parametrize("key", NUMBERS)
def test_numbers(key):
    assert f"{key} = 'much' is not a number" in refused(f"{key}=much")


@pytest.mark.parametrize("value", ["abc", "3", "[]", "[-1]", "[0.5]", "[0,abc]", "[0,[1]]", "[0,0]"])
@pytest.mark.parametrize("key", SEEDS)
def test_seeds(key, value):
    assert f"config key {key}" in refused(f"{key}={value}")


@pytest.mark.parametrize("value", ["abc", "3", "[]", "[abc,3]", "[null,3]", "[3,3.0]"])
def test_scales_of_guidance(value):
    assert "config key prompts.guidance" in refused(f"prompts.guidance={value}")


def test_a_sheet_may_be_left_out():
    built("reconstruction.pictures=0")
    assert "reconstruction.pictures = -1" in refused("reconstruction.pictures=-1")


def test_the_judged_scale_is_one_of_those_that_are_made():
    sentence = refused("prompts.guidance=[0,1]")
    assert "prompts.judged_guidance=3.0 is not one of prompts.guidance=[0, 1]" in sentence
    built("prompts.guidance=[0,1]", "prompts.judged_guidance=1.0")


@pytest.mark.parametrize("stage", list(evaluate.BY_STAGE))
@pytest.mark.parametrize("choice", ["split=train", "limit=3"])
def test_a_choice_of_assets_is_used_or_refused(choice, stage, monkeypatch, tmp_path):
    models = []
    monkeypatch.setattr(evaluate, "find_model", lambda *_: (tmp_path / "model.ckpt", stage))
    monkeypatch.setitem(evaluate.BY_STAGE, stage, lambda model, _: models.append(model))
    if stage != "diffusion":
        evaluate.run_evaluation(command(choice))
        assert models
        return
    with pytest.raises(UserError, match=f"{choice} is for autoencoders and priors"):
        evaluate.run_evaluation(command(choice))
    assert not models
    assert not (tmp_path / "evaluation").exists()


def test_settings_of_the_runs_domain_may_be_added(tmp_path):
    command = [sys.executable, str(ROOT / "evaluate.py"), "+domain.views=4", f"output_dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == EXIT_USER_ERROR
    assert "there is no finished autoencoder or diffusion or prior below" in done.stderr


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, str(ROOT / "evaluate.py"), "prompts.seeds=[]", f"output_dir={tmp_path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    left = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert (left.returncode, left.stdout) == (EXIT_USER_ERROR, "")
    [sentence] = left.stderr.splitlines()
    assert sentence.startswith("error: config key prompts.seeds = [] must be a list")
    assert not list(tmp_path.iterdir())
