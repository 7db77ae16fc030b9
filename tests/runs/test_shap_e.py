"""Shap-E's denoiser from the command line to samples, and out into files for others."""

import pytest
import torch
from diffusers import PriorTransformer
from tests.conditioning.conftest import clip_folder  # noqa: F401 (a fixture)

from fieldforge.exchange.prior_files import load_prior, save_diffusers
from fieldforge.runs.train import run_training
from fieldforge.stages.diffusion_stage import load_diffusion

DENOISER = [
    "backbone=shap_e",
    "~backbone.group",
    "loss=hybrid",
    "parameterization=data",
    "weighting=data",
    "sampler.steps=3",
]
SOURCES = {
    "text": ["conditioner=clip_text", "conditioner.width=24", "conditioner.parts.clip_text.tokens=false"],
    "image": [
        "conditioner=clip_image",
        "conditioner.width=32",
        "conditioner.parts.clip_image.vector=false",
        "+conditioner.parts.clip_image.encoder.class_token=false",
        "backbone.reads=tokens",
        "+embedded=views",
    ],
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_trained_denoiser_samples_and_leaves_for_others(kind, place, balls, clip_folder, tmp_path):  # noqa: F811
    part = f"conditioner.parts.clip_{kind}"
    asis = [f"+{part}.projection=false", f"{part}.learned_null=false", f"conditioner.clip={clip_folder}"]
    done = run_training(place.compose(*DENOISER, *SOURCES[kind], *asis, f"data.root={balls}"))["diffusion"]
    generator, _, _ = load_diffusion(done.model)
    assert not generator.conditioner.state_dict()
    picture = torch.randint(0, 255, (1, 32, 32, 4), dtype=torch.uint8)
    batch = {"caption": ["a red ball"]} if kind == "text" else {"image": picture}
    free, guided = (generator(batch, [5], scale=scale) for scale in (0.0, 3.0))
    assert torch.isfinite(guided).all()
    assert not torch.equal(free, guided)

    backbone = generator.model.backbone
    save_diffusers(backbone, tmp_path / "prior")
    prior = PriorTransformer.from_pretrained(tmp_path / "prior")
    assert prior.config.num_embeddings == backbone.tokens
    torch.nn.init.zeros_(backbone.positions)
    load_prior(backbone, tmp_path / "prior")
    assert torch.equal(backbone.positions, prior.positional_embedding[0])
