"""The walk through all stages, in the smallest form."""

import numpy as np
import pytest
import torch
from tests.runs.conftest import Place

from fieldforge.conditioning.stored import samples_of
from fieldforge.data.shards import open_shards
from fieldforge.domains.shape import ShapeDomain
from fieldforge.errors import UserError
from fieldforge.runs.train import run_training
from fieldforge.stages.diffusion_stage import load_diffusion


@pytest.fixture(scope="module")
def walked(balls, tmp_path_factory):
    place = Place(balls, tmp_path_factory.mktemp("walked"))
    return place, run_training(place.compose())


def test_all_stages_leave_their_artifacts(walked):
    _, done = walked
    assert done["autoencoder"].finished
    assert done["diffusion"].finished
    assert list(done["diffusion"].pictures.glob("step_000000006.png"))


def test_latents_are_normalised_and_name_their_autoencoder(walked):
    _, done = walked
    [folder] = (done["autoencoder"].path / "latents").iterdir()
    [manifest] = open_shards(folder, "train").manifests
    assert manifest.settings["autoencoder"] == done["autoencoder"].fingerprint
    assert {entry.split: entry.samples for entry in manifest.shards} == {"train": 9, "heldout": 3}
    latents = torch.stack(  # (9, T, C)
        [torch.from_numpy(np.array(sample["latent.npy"])).float() for sample in samples_of(folder, "train")]
    )
    assert torch.allclose(latents.mean((0, 1)), torch.zeros(latents.shape[-1]), atol=1e-4)
    assert torch.allclose(latents.std((0, 1)), torch.ones(latents.shape[-1]), atol=1e-2)


def test_same_command_reuses_everything(walked, caplog):
    place, done = walked
    caplog.set_level("INFO")
    again = run_training(place.compose("monitor.log_every=3", "trainer.devices=1"))
    assert {stage: directory.path for stage, directory in again.items()} == {
        stage: directory.path for stage, directory in done.items()
    }
    assert caplog.text.count("reused from") == 3


def test_sampling_is_a_function_of_seed_and_condition(walked):
    _, done = walked
    sampler, autoencoder, _ = load_diffusion(done["diffusion"].model)
    first = sampler({"class": ["red", "blue"]}, [0, 1], scale=2.0)  # (2, T, C)
    again = sampler({"class": ["red", "blue"]}, [0, 1], scale=2.0)
    assert torch.equal(first, again)
    other = sampler({"class": ["red", "blue"]}, [2, 1], scale=2.0)
    assert not torch.equal(first[0], other[0])
    assert torch.allclose(first[1], other[1], atol=1e-5)
    points = torch.zeros(2, 5, 3)
    assert ShapeDomain().decode(autoencoder, first).sdf(points).shape == (2, 5)


def test_autoencoder_given_by_its_directory_is_used(walked, balls, tmp_path):
    _, done = walked
    place = Place(balls, tmp_path)
    config = place.compose(f"autoencoder_run={done['autoencoder'].path}", "stages=[autoencoder,latents]")
    assert run_training(config)["autoencoder"].path == done["autoencoder"].path
    inside = place.compose(f"autoencoder_run={done['diffusion'].path}", "stages=[autoencoder,latents]")
    again = run_training(inside)["autoencoder"]
    assert (again.fingerprint, again.path.parents[1]) == (done["autoencoder"].fingerprint, place.outputs)


def test_latents_are_no_data_of_an_autoencoder(walked, place):
    [folder] = (walked[1]["autoencoder"].path / "latents").iterdir()
    with pytest.raises(UserError, match="latent") as mistake:
        run_training(place.compose(f"data.root={folder}", "stages=[autoencoder]"))
    assert str(folder) in str(mistake.value)


def test_both_models_may_lie_below_one_name(walked):
    place, done = walked
    config = place.compose()
    assert config.name == config.autoencoder_name
    assert done["autoencoder"].path.parent == done["diffusion"].path.parent
    assert done["autoencoder"].path != done["diffusion"].path


def test_stage_without_the_ones_before_is_refused(place):
    with pytest.raises(UserError, match=r"needs autoencoder.* before it"):
        run_training(place.compose("stages=[diffusion]"))


def test_model_of_other_condition_encoders_is_refused(walked, tmp_path):
    _, done = walked
    content = torch.load(done["diffusion"].model, weights_only=True)
    content["fieldforge"]["encoders"]["class"]["classes"] = ["blue", "green", "yellow"]
    torch.save(content, tmp_path / "model.ckpt")
    with pytest.raises(UserError, match=r"other condition encoders than are found here \(class.classes"):
        load_diffusion(tmp_path / "model.ckpt")


def test_what_a_latent_batch_holds_belongs_to_the_run(walked):
    _, done = walked
    assert set(done["diffusion"].determining["transforms"]) == {"latent", "labels"}
