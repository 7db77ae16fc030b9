"""Which values a training step asks its tensors for: each makes a GPU wait for all that was queued before."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from tests.conditioning.conftest import large_clip_folder  # noqa: F401 (a fixture)

from fieldforge.planning import fake_modules
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.rehearsal import sizes_of_data
from fieldforge.planning.step import unattended
from fieldforge.runs.entry import CONFIGS
from fieldforge.stages.registry import stages_of
from fieldforge.stages.work import Step

READ_BACKS = (torch.ops.aten.nonzero.default, torch.ops.aten._local_scalar_dense.default)


@pytest.fixture
def read_backs(monkeypatch) -> list[str]:
    """What was asked so far."""
    names = []
    usual = fake_modules._Values.__torch_dispatch__

    def dispatch(self, func, types, args=(), kwargs=None):
        if func in READ_BACKS:
            names.append(func._schema.name)
        return usual(self, func, types, args, kwargs)

    monkeypatch.setattr(fake_modules._Values, "__torch_dispatch__", dispatch)
    return names


def take_steps(read_backs: list[str], *overrides: str) -> dict[str, list[str]]:
    """A training step, there and back, of every stage that trains; what each asked for."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        stages = stages_of(compose("train", list(overrides)))
    result, sizes = {}, sizes_of_data(stages)
    for stage in stages:
        step = stage.work(sizes)
        with without_values():
            if isinstance(step, Step):
                module, batch = unattended(step.module()), step.batch(2)
                read_backs.clear()
                module.training_step(module.on_before_batch_transfer(batch, 0), 0).backward()
                result[stage.name] = list(read_backs)
            sizes = stage.after(sizes)
    return result


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=shape_latent"],
        ["experiment=shape_autoencoder", "autoencoder=shap_e_small"],
        ["experiment=image_latent"],
        ["experiment=clip_latent"],
        ["experiment=clip_prior"],
        ["experiment=latent_classifier"],
    ],
    ids=lambda overrides: overrides[-1],
)
def test_a_step_reads_nothing_back(read_backs, overrides):
    result = take_steps(read_backs, *overrides)
    assert result
    assert not any(result.values()), result


def test_a_step_of_shap_e_s_denoiser_reads_nothing_back(read_backs, large_clip_folder):  # noqa: F811
    flat = ["autoencoder.encoder.layers=1", "backbone.layers=1"]
    result = take_steps(read_backs, "experiment=shap_e_image", f"conditioner.clip={large_clip_folder}", *flat)
    assert result["diffusion"] == []


def test_a_step_of_sparse_latents_reads_how_many_cells_are_active(read_backs):
    result = take_steps(read_backs, "experiment=furniture_autoencoder")
    assert set(result) == {"sparse", "autoencoder"}
    assert set(result["autoencoder"]) == {"aten::nonzero"}
