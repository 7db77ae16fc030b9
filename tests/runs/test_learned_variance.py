"""Learned variance from the command line to samples."""

import torch

from fieldforge.diffusion.variance import LearnedVarianceModel
from fieldforge.runs.train import run_training
from fieldforge.stages.diffusion_stage import load_diffusion

HYBRID = ["loss=hybrid", "parameterization=noise", "weighting=noise", "sampler=ddpm_learned"]


def test_hybrid_loss_trains_a_variance_that_the_learned_walk_uses(place):
    done = run_training(place.compose(*HYBRID, "training.diffusion.optimizer.lr=1e-2"))["diffusion"]
    sampler, _, label = load_diffusion(done.model)
    assert isinstance(sampler.model, LearnedVarianceModel)
    assert label["config"]["loss"]["share"] == 1e-3
    assert done.determining["loss"]["discretization"] == 1000
    batch = {"class": ["red", "blue"]}
    condition = sampler.conditioner(sampler.conditioner.embed(batch))
    x_t, t = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0.2, 0.7]).double()
    _, fraction = sampler.model.split(x_t, t, condition)
    assert fraction.shape == (2, 8, 4)
    assert (fraction - 0.5).abs().max() > 1e-4  # untrained it is one half everywhere
    first, again, other = (sampler(batch, seeds, scale=2.0) for seeds in ([0, 1], [0, 1], [2, 3]))
    assert torch.isfinite(first).all()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
