"""What is wrong with the condition is told before the autoencoder trains."""

import shutil

import pytest
import torch
from tests.conditioning.conftest import clip_folder  # noqa: F401 (a fixture)
from transformers import AutoConfig

from fieldforge.errors import UserError
from fieldforge.runs.train import run_training
from fieldforge.stages.conditioner_check import first_conditioner
from fieldforge.training.callbacks.metrics_table import read_table
from fieldforge.training.processes.checkpoints import load_safely

CLIP = "conditioner.clip="
STORED = "fieldforge.conditioning.transforms.StoredFeatures"
PRIOR = ["stages=[prior]", "+training@training.prior=stage"]
SEEING = ["conditioner/parts=[clip_image,image_features]", "conditioner.sources=[clip_image]"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["conditioner.sources=[foo]"], "conditioner.sources names foo"),
        (["conditioner.parts.class.dropout=2"], r"conditioner\.parts\.class\.dropout = 2 is not a number from 0 to 1"),
        (
            ["conditioner/parts=[clip_text]", "conditioner.parts.clip_text.encoder.model=/nowhere"],
            "the encoder /nowhere is neither",
        ),
        (["conditioner/parts=[image_features]"], r"image_features reads pictures.*\+embedded=views"),
        (
            [
                "conditioner/parts=[image_features]",
                "+latent_data.transforms.meta={_target_:fieldforge.data.transforms.Meta}",
            ],
            "image_features reads pictures",
        ),
        (["+embedded=image_features"], r"parts\.image_features is no source.*conditioner/parts="),
        (
            [f"+latent_data.transforms.features={{_target_:{STORED},root:x,sources:[text]}}"],
            r"stored features of text, but .* are none.*embedded=views",
        ),
        (["conditioner/parts=[class,image_features]", "+embedded=stored"], "stored features of class"),
        ([*PRIOR, "+prior.source=foo"], "prior.source=foo is none of the sources: class"),
        (
            [*PRIOR, "+prior.source=image_features", *SEEING, CLIP],
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
    monkeypatch.setattr("fieldforge.conditioning.hub.Pretrained.load", no_network)
    words = ["conditioner/parts=[class,clip_text,clip_image]", f"conditioner.clip={clip_folder}", "+embedded=views"]
    before = torch.get_rng_state()
    first_conditioner(place.compose(*words))
    assert torch.equal(before, torch.get_rng_state())


def no_network(encoder, kind, read="from_pretrained"):
    assert kind is AutoConfig or "Tokenizer" in kind.__name__
    return getattr(kind, read)(encoder.model)


@pytest.mark.parametrize(("without", "message"), [(".safetensors", "it holds no weights"), ("token", "is not whole")])
def test_an_encoder_must_be_whole(place, clip_folder, tmp_path, without, message):  # noqa: F811
    ignored = shutil.ignore_patterns(f"*{without}*", *(("vocab*", "merges*") if without == "token" else ()))
    part = shutil.copytree(clip_folder, tmp_path / "part", ignore=ignored)
    with pytest.raises(UserError, match=message):
        run_training(place.compose("conditioner/parts=[clip_text]", f"conditioner.clip={part}"))
    assert not list(place.outputs.iterdir())


@pytest.mark.parametrize("source", ["clip_text", "clip_image"])
def test_encoding_ahead_and_in_the_step_train_the_same_model(place, balls, clip_folder, tmp_path, source):  # noqa: F811
    data = shutil.copytree(balls, tmp_path / "balls", ignore=shutil.ignore_patterns("embeddings"))
    words = [f"conditioner/parts=[{source}]", f"conditioner.clip={clip_folder}", f"data.root={data}"]
    words += [] if source == "clip_text" else ["conditioner.parts.clip_image.lights=0"]
    unlit = ["latent_data.transforms.view.lit=false", "+latent_data.transforms.view.views=[1]"]
    live = [] if source == "clip_text" else ["+embedded=views", *unlit]
    ahead = ["+embedded=stored", "+latent_data.transforms.features.views=[1]"]
    runs = [run_training(place.compose(*words, *further))["diffusion"] for further in (live, ahead)]
    assert (data / "embeddings" / source).is_dir()
    one, other = (load_safely(run.model)["state_dict"] for run in runs)
    for part in ("vector_mean", "vector_std"):
        (name,) = [key for key in one if key.endswith(f"{source}.{part}")]
        assert one[name].std() > 1e-3, "measured, no longer 0 and 1"
        torch.testing.assert_close(other[name], one[name], rtol=1e-3, atol=1e-3)
    losses, others = (
        {step: row["train/loss"] for step, row in read_table(run.path / "metrics.csv").items() if "train/loss" in row}
        for run in runs
    )
    assert losses
    assert losses == pytest.approx(others, rel=1e-3)


def test_several_sources_are_embedded_ahead_at_once(place, balls, clip_folder, tmp_path):  # noqa: F811
    data = shutil.copytree(balls, tmp_path / "balls", ignore=shutil.ignore_patterns("embeddings"))
    words = ["conditioner/parts=[clip_text,clip_image]", f"conditioner.clip={clip_folder}", "+embedded=stored"]
    run_training(place.compose(*words, f"data.root={data}"))
    assert {folder.name for folder in (data / "embeddings").iterdir()} == {"clip_text", "clip_image"}
