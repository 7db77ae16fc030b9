"""DDIM: η interpolates between deterministic and ancestral sampling."""

from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser
from fieldforge.diffusion.solvers.solver import Grid, at, fresh_noise
from fieldforge.errors import UserError
from fieldforge.noise.process import Process
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import NotNegative


class DDIM:
    """Song et al. 2020, "DDIM", eq. 12 and 16: η = 0 is deterministic, η = 1 is DDPM's ancestral sampling.

    The deterministic step equals an Euler step, on EDM's path and on the straight path.
    """

    def __init__(self, eta: NotNegative = 0.0):
        if not 0 <= eta <= 1:
            raise UserError(f"DDIM needs an eta in [0, 1], got {eta}")
        self.eta = eta

    def sample(
        self, denoise: Denoiser, noise: Tensor, process: Process, times: Tensor, randomness: Randomness
    ) -> Tensor:
        grid = Grid.of(process, times)
        x = grid.start(noise)  # (B, T, C)
        for i in grid.steps:
            alpha, sigma, next_alpha, next_sigma = grid.alpha[i], grid.sigma[i], grid.alpha[i + 1], grid.sigma[i + 1]
            x0 = denoise(x, at(grid.t[i], x))  # (B, T, C)
            direction = (x - alpha * x0) / sigma  # (B, T, C), the noise that x0 implies
            # Variance of q(x_s | x_t, x_0), s being the next time.
            posterior = (next_sigma / sigma) ** 2 * (sigma**2 - (alpha / next_alpha * next_sigma) ** 2)
            fresh = self.eta**2 * posterior
            x = next_alpha * x0 + (next_sigma**2 - fresh) ** 0.5 * direction
            if fresh > 0:
                x = x + fresh**0.5 * fresh_noise(x, randomness)
        return x
