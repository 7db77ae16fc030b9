"""DDPM's ancestral sampler."""

from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser
from fieldforge.diffusion.posterior import posterior_coefficients
from fieldforge.diffusion.solvers.solver import Grid, at, fresh_noise
from fieldforge.errors import UserError
from fieldforge.noise.process import Process
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import Share


class Ancestral:
    """Draws from q(x_s | x_t, x̂₀) at each step (Ho et al. 2020, algorithm 2), over any times.

    `variance_interpolation` 0 takes the posterior's variance β̃, 1 takes β (ibid., section 3.2), between them the
    geometric mean (Nichol & Dhariwal 2021, eq. 15).
    """

    def __init__(self, variance_interpolation: Share = 0.0):
        if not 0 <= variance_interpolation <= 1:
            raise UserError(f"Ancestral needs a variance_interpolation in [0, 1], got {variance_interpolation}")
        self.variance_interpolation = variance_interpolation

    def sample(
        self, denoise: Denoiser, noise: Tensor, process: Process, times: Tensor, randomness: Randomness
    ) -> Tensor:
        grid = Grid.of(process, times)
        x = grid.start(noise)  # (B, T, C)
        for i in grid.steps:
            x0 = denoise(x, at(grid.t[i], x))  # (B, T, C)
            step = posterior_coefficients(grid.alpha[i], grid.sigma[i], grid.alpha[i + 1], grid.sigma[i + 1])
            x = step.of_x0 * x0 + step.of_x_t * x
            if step.variance > 0:
                mix = self.variance_interpolation
                variance = step.variance ** (1 - mix) * step.forward_variance**mix
                x = x + variance**0.5 * fresh_noise(x, randomness)
        return x
