"""Variations of given data, against the closed form for data that are standard normal."""

import math

import pytest
import torch

from fieldforge.diffusion.sampler import Sampler
from fieldforge.diffusion.solvers.heun import Heun
from fieldforge.diffusion.spacing import Karras
from fieldforge.errors import UserError
from fieldforge.noise.process import like
from fieldforge.noise.processes import Exponential, VarianceExploding

GENERATOR = torch.Generator().manual_seed(0)
START, NOISE = torch.randn(2, 4, 3, 5, generator=GENERATOR, dtype=torch.float64)


def vary(process, strength, steps=200):
    """By the exact denoiser of standard normal data, α x_t / (α² + σ²): its flow keeps x_t / √(α² + σ²)."""

    def denoise(x_t, t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        return like(alpha / (alpha**2 + sigma**2), x_t) * x_t

    sampling = Sampler(Heun(), Karras(), steps)
    return sampling.vary(denoise, START, NOISE, process, torch.Generator(), strength)


@pytest.mark.parametrize("process", [Exponential(12.0), VarianceExploding()])
@pytest.mark.parametrize("strength", [0.05, 0.3, 0.6])
def test_strength_is_the_angle_between_data_and_noise_whatever_the_process(process, strength):
    angle = strength * math.pi / 2
    wanted = math.cos(angle) * START + math.sin(angle) * NOISE
    torch.testing.assert_close(vary(process, strength), wanted, atol=2e-3, rtol=1e-3)


def test_at_full_strength_nothing_is_left_but_noise():
    result = vary(Exponential(12.0), 1.0)
    assert (result - NOISE).abs().max() < 0.05


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.01])
def test_strengths_beyond_the_ends_are_refused(strength):
    with pytest.raises(UserError, match="must be above 0"):
        vary(Exponential(12.0), strength, steps=2)
