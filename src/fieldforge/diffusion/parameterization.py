"""Parameterizations: the meaning of the backbone's output, and its map to a denoised estimate.

A parameterization is linear: its training target is F = p x₀ + q ε, and the estimate is x₀ = skip · x_t + out · F. The
coefficients depend on α and σ alone, so that every parameterization works with every process. The backbone always sees
an input of unit variance (for data of unit variance) and the noise level ¼ ln(σ/α), EDM's c_noise (Karras et al. 2022,
table 1), which means the same under every process.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldforge.errors import UserError
from fieldforge.noise.process import like
from fieldforge.ranges import Positive

LOG_SNR_LIMIT = 40.0  # |λ| beyond this is noise-free or signal-free even in float64


def input_scale(alpha: Tensor, sigma: Tensor) -> Tensor:
    """Factor that gives x_t unit variance when the data has it."""
    return 1 / torch.sqrt(alpha**2 + sigma**2)


def noise_level(log_snr: Tensor) -> Tensor:
    """¼ ln(σ/α) = -λ/8, within about ±5: the noise level that backbones read."""
    return -log_snr.clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT) / 8


class Parameterization(ABC):
    """A parameterization of the backbone's output. α, σ, λ are (B,)."""

    @abstractmethod
    def target_coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(p, q), each (B,), of the training target p x₀ + q ε."""

    @abstractmethod
    def denoised_coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(skip, out), each (B,), of the denoised estimate skip · x_t + out · F."""

    @abstractmethod
    def log_out(self, log_snr: Tensor) -> Tensor:
        """ln |out| as a function of λ: the error of x₀ is out · the error of F."""

    def target(self, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """x0 (B, T, C), noise (B, T, C) → what the backbone should put out (B, T, C)."""
        p, q = self.target_coefficients(alpha, sigma)
        return like(p, x0) * x0 + like(q, x0) * noise

    def denoised(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """output (B, T, C), x_t (B, T, C) → x0 (B, T, C)."""
        skip, out = self.denoised_coefficients(alpha, sigma)
        return like(skip, x_t) * x_t + like(out, x_t) * output


class PredictNoise(Parameterization):
    """F = ε (DDPM, Ho et al. 2020, section 3.2). Undefined where α = 0: start sampling below that time."""

    def target_coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(alpha), torch.ones_like(alpha)

    def denoised_coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        if alpha.device.type == "cpu" and bool((alpha == 0).any()):
            raise UserError(
                "a prediction of ε says nothing of the data where no signal is left (alpha = 0): take times that "
                "start below t = 1 (spacing@sampler.spacing=karras), or predict x0, v or velocity"
            )
        return 1 / alpha, -sigma / alpha

    def log_out(self, log_snr: Tensor) -> Tensor:
        return -log_snr / 2


class PredictData(Parameterization):
    """F = x₀ (Shap-E's choice)."""

    def target_coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(alpha), torch.zeros_like(alpha)

    def denoised_coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(alpha), torch.ones_like(alpha)

    def log_out(self, log_snr: Tensor) -> Tensor:
        return torch.zeros_like(log_snr)


class PredictV(Parameterization):
    """F = (α ε - σ x₀) / √(α² + σ²) (Salimans & Ho 2022, "Progressive distillation", section 4).

    The root is 1 for variance-preserving processes, as in the paper; it gives the target unit variance under every
    process.
    """

    def target_coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        scale = input_scale(alpha, sigma)
        return -sigma * scale, alpha * scale

    def denoised_coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        scale = input_scale(alpha, sigma)
        return alpha * scale**2, -sigma * scale

    def log_out(self, log_snr: Tensor) -> Tensor:
        return -F.softplus(log_snr) / 2  # σ² / (α² + σ²) = 1 / (1 + SNR)


class PredictVelocity(Parameterization):
    """F = ε - x₀, the velocity of the straight path (rectified flow, Liu et al. 2022, eq. 1).

    Under another process than `LinearInterpolation` it is the velocity after x_t is divided by α + σ, which puts every
    process on the straight path.
    """

    def target_coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(alpha), torch.ones_like(alpha)

    def denoised_coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return 1 / (alpha + sigma), -sigma / (alpha + sigma)

    def log_out(self, log_snr: Tensor) -> Tensor:
        return -F.softplus(log_snr / 2)  # σ / (α + σ) = 1 / (1 + √SNR)


class Preconditioned(Parameterization):
    """EDM's preconditioning (Karras et al. 2022, table 1), for data of deviation `sigma_data`.

    EDM's σ is σ/α here, its input x_t/α. With sigma_data = 1 this is `PredictV` with the opposite sign.
    """

    def __init__(self, sigma_data: Positive = 0.5):
        if sigma_data <= 0:
            raise UserError(f"Preconditioned needs a positive sigma_data, got {sigma_data}")
        self.sigma_data = sigma_data

    def target_coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        spread = torch.sqrt(sigma**2 + (alpha * self.sigma_data) ** 2)
        return sigma / (self.sigma_data * spread), -alpha * self.sigma_data / spread

    def denoised_coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        variance = sigma**2 + (alpha * self.sigma_data) ** 2
        return alpha * self.sigma_data**2 / variance, sigma * self.sigma_data / torch.sqrt(variance)

    def log_out(self, log_snr: Tensor) -> Tensor:
        # out² = 1 / (1 / σ_data² + SNR)
        floor = torch.log(torch.full_like(log_snr, self.sigma_data**-2))
        return -torch.logaddexp(floor, log_snr) / 2
