"""Errors of denoisers whose error is known."""

import math

import pytest
import torch

from fieldforge.metrics.measures import MEASURES
from fieldforge.noise.processes import Cosine, Exponential
from fieldforge.stages.measures_of_samples import LEVELS, denoising_errors

LATENTS = torch.randn(64, 32, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("process", [Cosine(), Exponential()])
def test_the_best_denoiser_of_normal_latents_errs_by_its_posterior_variance_under_every_process(process):
    class Best:
        def __call__(self, x_t, t, condition):
            alpha, sigma = process.alpha(t).float()[:, None, None], process.sigma(t).float()[:, None, None]
            return alpha * x_t / (alpha**2 + sigma**2)

    model = Best()
    model.process = process
    errors = denoising_errors(model, LATENTS, None)
    assert errors == {name: pytest.approx(1 / (1 + math.exp(level)), rel=0.05) for name, level in LEVELS.items()}
    assert errors.keys() <= MEASURES.keys()


def test_a_denoiser_that_knows_the_truth_errs_by_nothing_and_the_noise_is_always_the_same():
    class Knows:
        process, seen = Cosine(), []

        def __call__(self, x_t, t, condition):
            self.seen.append(x_t)
            return LATENTS

    model = Knows()
    assert denoising_errors(model, LATENTS, None) == dict.fromkeys(LEVELS, 0)
    denoising_errors(model, LATENTS, None)
    assert torch.equal(torch.stack(model.seen[:3]), torch.stack(model.seen[3:]))
