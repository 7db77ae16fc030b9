"""Stages that start from another model's weights: fine-tuning, frozen parts, phases of one model."""

import numpy as np
import pytest
import torch
from tests.runs.conftest import Place

from fieldforge.errors import UserError
from fieldforge.runs.train import run_training
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.initial_weights import fate

PHASE = (
    "+phases={colours:{of:autoencoder,training:{budget:{max_steps:3}},autoencoder_loss:{color:8.0},frozen:[encoder.*]}}"
)
SLOW = "training.autoencoder.optimizer.lr=1e-12"


def weights(run: StageDirectory) -> dict[str, torch.Tensor]:
    return torch.load(run.model, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def trained(balls, tmp_path_factory):
    place = Place(balls, tmp_path_factory.mktemp("trained"))
    return place, run_training(place.compose("stages=[autoencoder]"))["autoencoder"]


def test_a_model_starts_from_another_ones_weights(trained):
    place, earlier = trained
    run = run_training(place.compose("stages=[autoencoder]", f"init_from={earlier.path}", SLOW))["autoencoder"]
    assert run.path != earlier.path
    assert run.determining["init_from"] == earlier.fingerprint
    for name, value in weights(earlier).items():
        if not name.startswith("latent_"):
            assert torch.allclose(weights(run)[name], value, atol=1e-6), name


def test_statistics_are_measured_anew(trained):
    place, earlier = trained
    run = run_training(place.compose("stages=[autoencoder]", f"init_from={earlier.path}", SLOW))["autoencoder"]
    for name in ("latent_mean", "latent_std"):
        assert torch.allclose(weights(run)[name], weights(earlier)[name], atol=1e-3), name


def test_a_phase_trains_the_model_on_and_latents_are_of_the_last(trained):
    place, _ = trained
    done = run_training(place.compose("stages=[autoencoder,colours,latents,diffusion]", PHASE))
    first, second = weights(done["autoencoder"]), weights(done["colours"])
    changed = {name for name in first if not torch.equal(first[name], second[name])}
    assert any(name.startswith("decoder.") for name in changed)
    assert not any(name.startswith("encoder.") for name in changed)
    assert done["diffusion"].determining["autoencoder"] == done["colours"].fingerprint
    again = run_training(place.compose("stages=[autoencoder,colours,latents,diffusion]", PHASE))
    assert {name: run.path for name, run in again.items()} == {name: run.path for name, run in done.items()}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["init_from=/nowhere"], "init_from=/nowhere has no finished model.ckpt"),
        (["init_from={run}", "autoencoder.encoder.channels=3"], "init_from=.* its weights are not those of this model"),
        (["init_from={run}", "continue_from={run}"], "init_from= and continue_from= are both given"),
        (["init_from={run}", "frozen=[nothing.*]"], r"frozen=nothing\.\*: no parameter has such a name"),
        (["stages=[autoencoder,colours]"], "there is no stage colours"),
        (["stages=[autoencoder,autoencoder]"], "names autoencoder twice"),
        (["stages=[colours]", "+phases={colours:{of:shape,training:{}}}"], "phases.colours needs of="),
    ],
)
def test_mistakes_are_one_sentence(trained, tmp_path, overrides, sentence):
    place, run = trained
    words = [override.format(run=run.path) if "{run}" in override else override for override in overrides]
    with pytest.raises(UserError, match=sentence):
        run_training(Place(place.data, tmp_path).compose("stages=[autoencoder]", *words))


def test_classes_start_at_the_vectors_of_their_names(trained, caplog):
    place, _ = trained
    of_data = run_training(place.compose())["diffusion"]
    label = torch.load(of_data.model, weights_only=True)["fieldforge"]
    known = label["encoders"]["class"]["classes"]
    classes = ["of no ball", *reversed(known)]
    words = [f"conditioner.classes={classes}", f"init_from={of_data.path}", "training.diffusion.optimizer.lr=1e-12"]
    caplog.set_level("INFO")
    first, second = weights(of_data), weights(run_training(place.compose(*words))["diffusion"])
    sentence = f"starts at the weights of {of_data.path}; of its classes 3 kept ({', '.join(reversed(known))}); "
    assert f"{sentence}none forgotten; 1 new (of no ball)" in caplog.text
    name = "conditioner.sources.class.vector_projection.weight"
    for label_of, vector in zip(classes, second[name].unbind(1), strict=True):
        null = first["conditioner.sources.class.null_vector"]
        expected = first[name][:, known.index(label_of)] if label_of in known else null
        assert torch.allclose(vector, expected, atol=1e-6), label_of


def test_a_new_condition_changes_nothing_at_first(trained, caplog):
    """A model that reads no numbers is trained on with them: until then they are as if they were not there."""
    place, _ = trained
    plain = run_training(place.compose())["diffusion"]
    words = [
        "conditioner/parts=[class,proportions]",
        f"init_from={plain.path}",
        "training.diffusion.optimizer.lr=1e-12",
    ]
    caplog.set_level("INFO")
    led = run_training(place.compose(*words))["diffusion"]
    assert f"starts at the weights of {plain.path}, which did not read proportions" in caplog.text
    one, other = (load_diffusion(run.model)[0] for run in (plain, led))
    classes = {"class": ["red", "blue"]}
    numbers = {"proportions": [np.array([1, 0.5, 0.25], np.float32)] * 2}
    expected = one(classes, [0, 1], 2.0)
    for more in ({}, numbers):
        torch.testing.assert_close(other({**classes, **more}, [0, 1], 2.0), expected, rtol=1e-3, atol=1e-4)


def test_what_becomes_of_classes_is_said_in_words():
    assert fate(["chair", "bed"], ["bed", "lamp"]) == "1 kept (bed); 1 forgotten (chair); 1 new (lamp)"
    assert fate([str(number) for number in range(14)], []).endswith(
        "14 forgotten (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more); none new"
    )
