"""Loss weighting over noise levels: log of the weight on ‖x̂₀ - x₀‖² as a function of λ = log-SNR.

A weighting of the x₀ error means the same for every parameterization. The effective weight in training is weight ×
density of the times: choose the two together.
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldforge.errors import UserError
from fieldforge.ranges import Positive


class Weighting(Protocol):
    """A weighting of noise levels."""

    def log_weight(self, log_snr: Tensor) -> Tensor:
        """λ (B,) → ln w (B,), w the factor of the squared x₀ error."""
        ...


class UniformData:
    """Weight 1 on the x₀ error (Shap-E)."""

    def log_weight(self, log_snr: Tensor) -> Tensor:
        return torch.zeros_like(log_snr)


class UniformNoise:
    """Weight 1 on the ε error: SNR (DDPM's L_simple, Ho et al. 2020, eq. 14)."""

    def log_weight(self, log_snr: Tensor) -> Tensor:
        return log_snr


class UniformV:
    """Weight 1 on the v error: SNR + 1 (Salimans & Ho 2022, section 4)."""

    def log_weight(self, log_snr: Tensor) -> Tensor:
        return F.softplus(log_snr)


class UniformVelocity:
    """Weight 1 on the error of ε - x₀: (1 + √SNR)² (rectified flow, Liu et al. 2022, eq. 1)."""

    def log_weight(self, log_snr: Tensor) -> Tensor:
        return 2 * F.softplus(log_snr / 2)


class MinSNR:
    """min(SNR, γ) (Hang et al. 2023, "Min-SNR", section 3.4)."""

    def __init__(self, gamma: Positive = 5.0):
        if gamma <= 0:
            raise UserError(f"MinSNR needs a positive gamma, got {gamma}")
        self.log_gamma = math.log(gamma)

    def log_weight(self, log_snr: Tensor) -> Tensor:
        return log_snr.clamp(max=self.log_gamma)


class EDM:
    """(σ² + σ_data²) / (σ σ_data)² with σ read as σ/α (Karras et al. 2022, table 1)."""

    def __init__(self, sigma_data: Positive = 0.5):
        if sigma_data <= 0:
            raise UserError(f"EDM needs a positive sigma_data, got {sigma_data}")
        self.log_precision = -2 * math.log(sigma_data)

    def log_weight(self, log_snr: Tensor) -> Tensor:
        return torch.logaddexp(log_snr, torch.full_like(log_snr, self.log_precision))


class Sigmoid:
    """sigmoid(bias - λ) on the ε error (Kingma & Gao 2023, "VDM++"; Hoogeboom et al. 2024, "SiD2", eq. 5)."""

    def __init__(self, bias: float = 0.0):
        self.bias = bias

    def log_weight(self, log_snr: Tensor) -> Tensor:
        return log_snr + F.logsigmoid(self.bias - log_snr)
