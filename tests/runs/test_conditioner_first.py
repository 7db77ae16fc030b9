"""What is wrong with the condition is told before the autoencoder trains."""

import shutil

import pytest
import torch
from tests.conditioning.conftest import clip_folder  # noqa: F401 (a fixture)
from transformers import AutoConfig

from fieldforge.errors import UserError
from fieldforge.runs.conditioner_first import check_conditioner
from fieldforge.runs.train import run_training

CLIP = "conditioner.clip="


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["conditioner.sources=[foo]"], "conditioner.sources names foo"),
        (["conditioner.parts.class.dropout=2"], r"conditioner\.parts\.class: dropout is a probability"),
        (
            ["conditioner.sources=[clip_text]", "conditioner.parts.clip_text.encoder.model=/nowhere"],
            "the encoder /nowhere is neither",
        ),
        (["conditioner.sources=[image_features]"], r"image_features reads pictures.*\+embedded=views"),
        (
            ["conditioner.sources=[image_features]", "+latent_data.stages.meta={_target_:fieldforge.data.stages.Meta}"],
            "image_features reads pictures",
        ),
        (["+embedded=image_features"], r"stored features of image_features, but .* are none.*embedded=views"),
        (["conditioner.sources=[class,image_features]", "+embedded=stored"], "stored features of class"),
        (["stages=[prior]", "+prior.source=foo"], "conditioner.sources names foo"),
        (
            ["stages=[prior]", "+prior.source=image_features", "conditioner=clip_image", CLIP],
            "a prior is there to make up",
        ),
    ],
)
def test_before_anything_is_trained(place, monkeypatch, clip_folder, overrides, sentence):  # noqa: F811
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=sentence):
        run_training(place.compose(*(override.replace(CLIP, f"{CLIP}{clip_folder}") for override in overrides)))
    assert not list(place.outputs.iterdir())


def test_looking_loads_no_network_and_draws_no_number(place, clip_folder, monkeypatch):  # noqa: F811
    monkeypatch.setattr("fieldforge.conditioning.pretrained.Pretrained.load", configuration_alone)
    given = ["conditioner.sources=[class,clip_text,clip_image]", f"conditioner.clip={clip_folder}", "+embedded=views"]
    before = torch.get_rng_state()
    check_conditioner(place.compose(*given))
    assert torch.equal(before, torch.get_rng_state())


def configuration_alone(encoder, kind):
    assert kind is AutoConfig
    return kind.from_pretrained(encoder.model)


def test_views_are_encoded_live_where_it_is_asked_for(place, clip_folder):  # noqa: F811
    given = ["conditioner.sources=[clip_image]", f"conditioner.clip={clip_folder}", "+embedded=views"]
    run = run_training(place.compose(*given))["diffusion"]
    assert run.model.is_file()


def test_all_sources_are_embedded_ahead_where_it_is_asked_for(place, balls, clip_folder, tmp_path):  # noqa: F811
    data = shutil.copytree(balls, tmp_path / "balls", ignore=shutil.ignore_patterns("embeddings"))
    given = ["conditioner.sources=[clip_text,clip_image]", f"conditioner.clip={clip_folder}", "+embedded=stored"]
    run = run_training(place.compose(*given, f"data.root={data}"))["diffusion"]
    assert run.model.is_file()
    assert {folder.name for folder in (data / "embeddings").iterdir()} == {"clip_text", "clip_image"}
