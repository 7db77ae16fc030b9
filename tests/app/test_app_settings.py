"""The settings of app.py: its file has all that sample.py's settings need besides what the page fixes."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fieldforge.app.settings import read_app
from fieldforge.errors import UserError
from fieldforge.runs.entry import CONFIGS


def configured(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        return compose("app", [f"hydra.searchpath=[file://{CONFIGS}]", *overrides])


def test_the_file_of_the_command_is_complete():
    sampling, app = read_app(configured("prompt=a chair", "steps=8"))
    assert (sampling.prompt, sampling.steps, sampling.n) == ("a chair", 8, 1)
    assert app.is_local


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("steps=500", "steps=500 is more than max_steps=256"),
        ("mesh.size_cm=40", "mesh.size_cm=40 has no effect on this page"),
        ("host=''", "host= is empty"),
    ],
)
def test_what_the_page_cannot_use_is_named(override, sentence):
    with pytest.raises(UserError, match=sentence):
        read_app(configured(override))
