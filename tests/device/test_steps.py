"""A training step and a validation copy nothing to a GPU but their batch, and wait for nothing."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from tests.device.stand_in import META, placed, traffic  # noqa: F401 (a fixture)

from fieldforge.planning.rehearsal import sizes_of_data
from fieldforge.planning.step import unattended
from fieldforge.runs.entry import CONFIGS
from fieldforge.stages.registry import stages_of
from fieldforge.stages.work import Step

LATENT = ["experiment=shape_latent", "stages=[autoencoder,latents,diffusion]", "backbone.layers=1"]
WORDS = [
    ["experiment=shape_autoencoder"],
    ["experiment=shape_autoencoder", "autoencoder=lattice"],
    ["experiment=shape_autoencoder", "autoencoder=vector_set"],
    ["experiment=shap_e_small", "stages=[autoencoder,surface,joint]"],
    ["experiment=image_latent"],
    ["experiment=image_upscale"],
    ["experiment=clip_prior"],
    ["experiment=latent_classifier"],
    [*LATENT, "conditioner=text"],
    [*LATENT, "conditioner=class", "conditioner.classes=[a,b]"],
    [*LATENT, "conditioner=text_class_image", "backbone=in_context"],
    [*LATENT, "conditioner=none", "backbone=mmdit", "backbone.checkpointing=true"],
    [*LATENT, "loss=hybrid", "parameterization=noise", "weighting=noise"],
    [*LATENT, "process=exploding", "parameterization=edm", "weighting=edm", "density=log_normal"],
    [*LATENT, "process=interpolation", "parameterization=velocity", "weighting=velocity", "density=shifted"],
    [*LATENT, "adapter=lora"],
]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: " ".join(words[-3:]))
def test_a_step_copies_nothing_and_reads_nothing_back(words, traffic):  # noqa: F811
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        stages = stages_of(compose("train", words))
    steps, sizes = 0, sizes_of_data(stages)
    for stage in stages:
        step = stage.work(sizes)
        if isinstance(step, Step):
            module = unattended(step.module())
            stage.restrict(module)
            batch = placed(module.on_before_batch_transfer(step.batch(2), 0))
            module.to(META)
            with traffic:
                module.train().training_step(batch, 0).backward()
                with torch.no_grad():
                    module.eval().validation_step(batch, 0)
            steps += 1
        sizes = stage.after(sizes)
    assert steps
    assert traffic.copies == []
