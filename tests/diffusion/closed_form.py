"""Data whose optimal denoiser is known: Gaussians and mixtures of them. Samples are (B, 1, D), one token."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldforge.noise.process import Process


@dataclass(frozen=True)
class Mixture:
    """Σ weight · N(mean, covariance): weights (K,), means (K, D), covariances (K, D, D), float64."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    @property
    def mean(self) -> Tensor:
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        centred = self.means - self.mean
        between = torch.einsum("k,ki,kj->ij", self.weights, centred, centred)
        return torch.einsum("k,kij->ij", self.weights, self.covariances) + between

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        component = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64)
        factors = torch.linalg.cholesky(self.covariances)[component]
        return (self.means[component] + torch.einsum("bij,bj->bi", factors, noise))[:, None]

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """log p(x_t): x (B, 1, D), α and σ (B,) → (B, K), per component with its weight."""
        rotated, _, spread = self._whitened(x, alpha, sigma)
        constant = self.means.shape[1] * math.log(2 * math.pi)
        return self.weights.log() - 0.5 * ((rotated**2 / spread + spread.log()).sum(-1) + constant)

    def denoised(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """E[x₀ | x_t], for x (B, 1, D) in any dtype."""
        latents, x, alpha, sigma = x, x.double(), alpha.double(), sigma.double()
        responsibility = self.log_density(x, alpha, sigma).softmax(dim=1)  # (B, K)
        rotated, axes, spread = self._whitened(x, alpha, sigma)
        variances = torch.linalg.eigvalsh(self.covariances)  # (K, D)
        shrunk = alpha[:, None, None] * variances / spread * rotated  # (B, K, D)
        estimates = self.means + torch.einsum("kij,bkj->bki", axes, shrunk)
        return torch.einsum("bk,bki->bi", responsibility, estimates)[:, None].to(latents.dtype)

    def denoiser(self, process: Process):
        return lambda x, t: self.denoised(x, process.alpha(t), process.sigma(t))

    def _whitened(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets along the principal axes (B, K, D), the axes (K, D, D), and variances of x_t along them (B, K, D)."""
        variances, axes = torch.linalg.eigh(self.covariances)  # (K, D), (K, D, D)
        offset = x - alpha[:, None, None] * self.means  # (B, K, D)
        rotated = torch.einsum("kij,bki->bkj", axes, offset)
        return rotated, axes, alpha[:, None, None] ** 2 * variances + sigma[:, None, None] ** 2


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


GAUSSIAN = Mixture(f64([1.0]), f64([[0.3, -0.2]]), f64([[[0.8, 0.3], [0.3, 0.4]]]))

# Unit variance along both axes, as normalised latents have: 0.91 between the modes, 0.09 within.
RING = Mixture(
    f64([0.25] * 4),
    math.sqrt(2 * 0.91) * f64([[1, 0], [0, 1], [-1, 0], [0, -1]]),
    0.09 * torch.eye(2, dtype=torch.float64).expand(4, 2, 2),
)

SKEWED = Mixture(
    f64([0.2, 0.8]), f64([[1.5, 0.5], [-0.4, -0.1]]), f64([[[0.1, 0.05], [0.05, 0.2]], [[0.3, -0.1], [-0.1, 0.2]]])
)
