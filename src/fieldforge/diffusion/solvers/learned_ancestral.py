"""DDPM's ancestral sampler with learned variance."""

from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser, estimate
from fieldforge.diffusion.posterior import posterior_coefficients
from fieldforge.diffusion.solvers.solver import Grid, at, fresh_noise
from fieldforge.errors import UserError
from fieldforge.noise.process import Process
from fieldforge.noise.randomness import Randomness


class LearnedAncestral:
    """Ancestral sampling with learned variance, over any subset of the times (Nichol & Dhariwal 2021, section 4).

    The model gives the fraction between β̃ and β; β̃ and β follow from the strided times. Requires the denoiser of a
    `LearnedVarianceModel`.
    """

    def sample(
        self, denoise: Denoiser, noise: Tensor, process: Process, times: Tensor, randomness: Randomness
    ) -> Tensor:
        grid = Grid.of(process, times)
        x = grid.start(noise)  # (B, T, C)
        for i in grid.steps:
            x0, fraction = estimate(denoise, x, at(grid.t[i], x))  # (B, T, C) each
            if fraction is None:
                raise UserError(
                    "sampler=ddpm_learned needs the variance that loss=hybrid learns: train with that, "
                    "or choose sampler=ddpm"
                )
            step = posterior_coefficients(grid.alpha[i], grid.sigma[i], grid.alpha[i + 1], grid.sigma[i + 1])
            x = step.of_x0 * x0 + step.of_x_t * x
            if step.variance > 0:
                growth = (step.forward_variance / step.variance) ** 0.5
                deviation = step.variance**0.5 * growth**fraction  # (B, T, C)
                x = x + deviation * fresh_noise(x, randomness)
        return x
