"""Mistakes in evaluate.py's settings are one sentence each, before any model is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tests.runs.conftest import ROOT

from fieldforge.errors import UserError
from fieldforge.runs import evaluate
from fieldforge.runs.entry import CONFIGS, EXIT_USER_ERROR

ALL_POSITIVE = evaluate.paths(evaluate.POSITIVE)
ALL_OR_NULL = ["limit", *evaluate.paths(evaluate.POSITIVE_OR_NULL)]
ALL_NUMBERS = evaluate.paths(evaluate.NUMBERS)
TEXTS = ["prompts.file", "images.libraries"]


def settings(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        return compose("evaluate", list(overrides))


def refused(*overrides: str) -> str:
    with pytest.raises(UserError) as mistake:
        evaluate.check_settings(settings(*overrides))
    assert "\n" not in str(mistake.value)
    return str(mistake.value)


def test_the_defaults_pass_for_every_stage():
    evaluate.check_settings(settings())
    for stage in evaluate.BY_STAGE:
        evaluate.check_assets(settings(), stage)


def test_every_setting_is_checked():
    config = settings()
    blocks = ("reconstruction", "prompts", "images", "prior")
    there = {f"{block}.{name}" for block in blocks for name in config[block]}
    checked = {
        *ALL_POSITIVE,
        *ALL_OR_NULL,
        *ALL_NUMBERS,
        *evaluate.SEEDS,
        "reconstruction.pictures",
        "prompts.guidance",
    }
    assert there == checked - {"limit"} | {*TEXTS}


@pytest.mark.parametrize("value", ["0", "abc", "1.5"])
@pytest.mark.parametrize("key", [*ALL_POSITIVE, *ALL_OR_NULL])
def test_whole_numbers(key, value):
    assert f"{key} = " in refused(f"{key}={value}")


@pytest.mark.parametrize("key", [*ALL_POSITIVE, *ALL_NUMBERS, *evaluate.SEEDS, "prompts.guidance"])
def test_only_some_may_be_null(key):
    assert f"{key} = None" in refused(f"{key}=null")
    assert f"config key {key.partition('.')[0]}." in refused(f"{key.partition('.')[0]}=null")


@pytest.mark.parametrize("key", ALL_OR_NULL)
def test_null_or_a_whole_number_passes(key):
    for value in ("null", "1"):
        evaluate.check_settings(settings(f"{key}={value}"))


@pytest.mark.parametrize("key", ALL_NUMBERS)
def test_numbers(key):
    assert f"{key} = 'much' must be a number" in refused(f"{key}=much")


@pytest.mark.parametrize("value", ["abc", "3", "[]", "[-1]", "[0.5]", "[0,abc]", "[0,[1]]", "[0,0]"])
@pytest.mark.parametrize("key", evaluate.SEEDS)
def test_seeds(key, value):
    assert f"config key {key}" in refused(f"{key}={value}")


@pytest.mark.parametrize("value", ["abc", "3", "[]", "[abc,3]", "[null,3]", "[3,3.0]"])
def test_scales_of_guidance(value):
    assert "config key prompts.guidance" in refused(f"prompts.guidance={value}")


def test_a_sheet_may_be_left_out():
    evaluate.check_settings(settings("reconstruction.pictures=0"))
    assert "reconstruction.pictures = -1" in refused("reconstruction.pictures=-1")


def test_the_judged_scale_is_one_of_those_that_are_made():
    sentence = refused("prompts.guidance=[0,1]")
    assert "prompts.judged_guidance=3.0 is not one of prompts.guidance=[0, 1]" in sentence
    evaluate.check_settings(settings("prompts.guidance=[0,1]", "prompts.judged_guidance=1.0"))


@pytest.mark.parametrize("stage", list(evaluate.BY_STAGE))
@pytest.mark.parametrize("given", ["split=train", "limit=3"])
def test_a_choice_of_assets_is_used_or_refused(given, stage, monkeypatch):
    made = []
    monkeypatch.setattr(evaluate, "find_model", lambda *_: (Path("model.ckpt"), stage))
    monkeypatch.setitem(evaluate.BY_STAGE, stage, lambda model, config: made.append(model))
    if stage != "diffusion":
        evaluate.run_evaluation(settings(given))
        assert made
        return
    with pytest.raises(UserError, match=f"{given} is for autoencoders and priors"):
        evaluate.run_evaluation(settings(given))
    assert not made


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, str(ROOT / "evaluate.py"), "prompts.seeds=[]", f"output_dir={tmp_path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    left = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert (left.returncode, left.stdout) == (EXIT_USER_ERROR, "")
    about, sentence = left.stderr.splitlines()  # the first line shows while heavy modules are imported
    assert about == f"evaluating the newest run below {tmp_path}"
    assert sentence.startswith("error: config key prompts.seeds = [] must be a list")
    assert not list(tmp_path.iterdir())
