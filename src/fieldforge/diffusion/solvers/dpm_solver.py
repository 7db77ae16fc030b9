"""DPM-Solver++ (2M), as an ODE solver and as an SDE solver."""

import math

from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser
from fieldforge.diffusion.solvers.solver import Grid, at, fresh_noise
from fieldforge.noise.process import Process
from fieldforge.noise.randomness import Randomness


class DPMSolver:
    """Multistep, second order, one evaluation a step (Lu et al. 2022, "DPM-Solver++", algorithm 2).

    `stochastic` solves the diffusion SDE instead (ibid., appendix D, "SDE-DPM-Solver++ (2M)"). The first step and the
    last, where log-SNR jumps to infinity, are of first order.
    """

    def __init__(self, stochastic: bool = False):
        self.stochastic = stochastic

    def sample(
        self, denoise: Denoiser, noise: Tensor, process: Process, times: Tensor, randomness: Randomness
    ) -> Tensor:
        grid = Grid.of(process, times)
        x = grid.start(noise)  # (B, T, C)
        previous: Tensor | None = None
        previous_h = math.inf
        for i in grid.steps:
            alpha, sigma, next_alpha, next_sigma = grid.alpha[i], grid.sigma[i], grid.alpha[i + 1], grid.sigma[i + 1]
            x0 = denoise(x, at(grid.t[i], x))  # (B, T, C)
            decay = (alpha * next_sigma) / (next_alpha * sigma)  # e^-h, h the rise of ln(α/σ)
            h = -math.log(decay) if decay > 0 else math.inf
            estimate = x0  # (B, T, C)
            if previous is not None and math.isfinite(h):
                estimate = x0 + h / (2 * previous_h) * (x0 - previous)
            if self.stochastic:
                x = decay * next_sigma / sigma * x + next_alpha * (1 - decay**2) * estimate
                if next_sigma > 0:
                    x = x + next_sigma * math.sqrt(1 - decay**2) * fresh_noise(x, randomness)
            else:
                x = next_sigma / sigma * x + next_alpha * (1 - decay) * estimate
            previous, previous_h = x0, h
        return x
