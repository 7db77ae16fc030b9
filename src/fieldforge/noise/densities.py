"""Densities of the training times, as quantile functions of stratified uniform numbers."""

import math
from typing import Protocol

import torch
from torch import Tensor

from fieldforge.errors import UserError
from fieldforge.noise.process import Process
from fieldforge.ranges import Count, Positive


class Density(Protocol):
    """A density of training times, as its quantile function."""

    def times(self, uniform: Tensor, process: Process, tokens: int) -> Tensor:
        """uniform (B,) in (0, 1) → t (B,) in [0, 1], rising; of latents with so many tokens."""
        ...


class UniformTime:
    """t itself is uniform (DDPM, Shap-E, rectified flow)."""

    def times(self, uniform: Tensor, process: Process, tokens: int) -> Tensor:
        return uniform


class LogNormalSigma:
    """ln(σ/α) is normal (EDM, Karras et al. 2022, table 1; there mean -1.2, std 1.2 with data of deviation 0.5)."""

    def __init__(self, mean: float = -1.2, std: Positive = 1.2):
        self.mean = mean
        self.std = std

    def times(self, uniform: Tensor, process: Process, tokens: int) -> Tensor:
        log_sigma = self.mean + self.std * torch.special.ndtri(uniform)
        return process.time_of_log_snr(-2 * log_sigma)


class LogitNormal:
    """logit(t) is normal (Stable Diffusion 3, Esser et al. 2024, eq. 19)."""

    def __init__(self, mean: float = 0.0, std: Positive = 1.0):
        self.mean = mean
        self.std = std

    def times(self, uniform: Tensor, process: Process, tokens: int) -> Tensor:
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(uniform))


class Shifted:
    """A base density with σ/α multiplied by √(tokens / base_tokens): redundancy between tokens needs more noise.

    Stable Diffusion 3 (Esser et al. 2024), eq. 23, is this for the linear interpolation; in log-SNR it holds for every
    process (Hoogeboom et al. 2023, "Simple diffusion", eq. 4).
    """

    def __init__(self, density: Density, base_tokens: Count):
        if base_tokens < 1:
            raise UserError(f"Shifted needs a positive number of base_tokens, got {base_tokens}")
        self.density, self.base_tokens = density, base_tokens

    def times(self, uniform: Tensor, process: Process, tokens: int) -> Tensor:
        log_snr = process.log_snr(self.density.times(uniform, process, tokens))
        return process.time_of_log_snr(log_snr - math.log(tokens / self.base_tokens))
