"""Settings of compare.py that check themselves."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from fieldforge.configuration.settings import read_settings
from fieldforge.errors import UserError
from fieldforge.evaluation.settings import ComparisonSettings
from fieldforge.runs.entry import CONFIGS


def settings(prompts: object) -> ComparisonSettings:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        config = compose("compare", ["runs=[a,b]"])
    OmegaConf.update(config, "prompts", prompts)
    return read_settings(config, ComparisonSettings)


def test_prompts_are_a_file_or_texts_that_say_something():
    assert settings("my prompts.txt").prompts == "my prompts.txt"
    assert settings(["a chair", "a bed"]).prompts == ["a chair", "a bed"]
    for empty in ("", " ", [], ["a chair", " "]):
        with pytest.raises(UserError, match="prompts= is empty"):
            settings(empty)
