"""The variational bound on the negative log-likelihood, in bits."""

import math

import torch
from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser
from fieldforge.diffusion.posterior import posterior_coefficients
from fieldforge.diffusion.solvers.solver import Grid, at, fresh_noise
from fieldforge.diffusion.variance import gaussian_divergence
from fieldforge.noise.process import Process
from fieldforge.noise.randomness import Randomness


@torch.no_grad()
def bits_per_dimension(
    denoise: Denoiser, x0: Tensor, process: Process, times: Tensor, randomness: Randomness
) -> Tensor:
    """Upper bound of -log₂ p(x0) per dimension, for ancestral sampling over `times`: x0 (B, T, C) → (B,).

    Ho et al. 2020, eq. 5: the divergence of the prior, one divergence per step, and the likelihood of the last step. x0
    is continuous, so the bound is of a differential entropy and may be negative. The prior has the variance that
    samplers start with. The last step has the posterior variance σ² / (α² + σ²) of data of unit variance given x_t.
    Each step draws noise once and costs one evaluation.
    """
    grid = Grid.of(process, times)
    prior_log_variance = math.log(grid.alpha[0] ** 2 + grid.sigma[0] ** 2)
    zero = x0.new_zeros(())
    nats = gaussian_divergence(
        grid.alpha[0] * x0, zero + 2 * math.log(grid.sigma[0]), zero + prior_log_variance
    )  # (B, T, C)
    for i in grid.steps:
        x_t = grid.alpha[i] * x0 + grid.sigma[i] * fresh_noise(x0, randomness)  # (B, T, C)
        error = (x0 - denoise(x_t, at(grid.t[i], x0))).square()  # (B, T, C)
        if i < len(grid.steps) - 1:
            step = posterior_coefficients(grid.alpha[i], grid.sigma[i], grid.alpha[i + 1], grid.sigma[i + 1])
            nats = nats + step.of_x0**2 * error / (2 * step.variance)
        else:
            variance = grid.sigma[i] ** 2 / (grid.alpha[i] ** 2 + grid.sigma[i] ** 2)
            nats = nats + 0.5 * (math.log(2 * math.pi * variance) + error / variance)
    return nats.flatten(1).mean(dim=1) / math.log(2)
