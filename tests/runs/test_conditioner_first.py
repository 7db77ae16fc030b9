"""What is wrong with the condition is told before the autoencoder trains."""

import pytest
from tests.conditioning.conftest import clip_folder  # noqa: F401 (a fixture)

from fieldforge.errors import UserError
from fieldforge.runs.train import run_training


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["conditioner.sources=[foo]"], "conditioner.sources names foo"),
        (["conditioner.parts.class.dropout=2"], "dropout"),
        (
            ["conditioner.sources=[clip_text]", "conditioner.clip=/nowhere"],
            "the encoder /nowhere is neither",
        ),
        (["conditioner.sources=[image_features]"], r"image_features reads pictures.*\+embedded=views"),
    ],
)
def test_before_anything_is_trained(place, monkeypatch, overrides, sentence):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=sentence):
        run_training(place.compose(*overrides))
    assert not list(place.outputs.iterdir())


def test_views_are_encoded_live_where_it_is_asked_for(place, clip_folder):  # noqa: F811
    given = ["conditioner.sources=[clip_image]", f"conditioner.clip={clip_folder}", "+embedded=views"]
    run = run_training(place.compose(*given))["diffusion"]
    assert run.model.is_file()
