"""Noise processes of the literature, each with its exact inverse. No formula for σ cancels near t = 0."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldforge.errors import UserError
from fieldforge.noise.process import Process, unit_times
from fieldforge.ranges import NotNegative, Positive


class Linear(Process):
    """DDPM's linear β in continuous time: log ᾱ = -(β₀ t + (β₁ - β₀) t² / 2) (Song et al. 2021, eq. 32-33)."""

    def __init__(self, beta_start: NotNegative = 0.1, beta_end: Positive = 20.0):
        if not 0 < beta_start < beta_end:
            raise UserError(f"Linear needs 0 < beta_start < beta_end, got {beta_start} and {beta_end}")
        self.beta_start = beta_start
        self.beta_end = beta_end

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-self._decay(t) / 2)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self._decay(t)))

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        decay = F.softplus(-log_snr)  # -log ᾱ
        slope = self.beta_end - self.beta_start
        return unit_times(2 * decay / (self.beta_start + torch.sqrt(self.beta_start**2 + 2 * slope * decay)))

    def _decay(self, t: Tensor) -> Tensor:
        return self.beta_start * t + (self.beta_end - self.beta_start) * t**2 / 2


class Cosine(Process):
    """α = cos θ(t) / cos θ(0), θ rising linearly (Nichol & Dhariwal 2021, "Improved DDPM", eq. 17).

    The paper clips β to 0.999 so that the last step keeps a trace of signal. Here θ(1) stops just short of π/2, where α
    is `end`: about the α that clipping gives at a thousand steps.
    """

    def __init__(self, offset: NotNegative = 0.008, end: Positive = 5e-5):
        self.first = offset / (1 + offset) * math.pi / 2
        self.last = math.acos(end * math.cos(self.first))

    def alpha(self, t: Tensor) -> Tensor:
        return torch.cos(self._angle(t)) / math.cos(self.first)

    def sigma(self, t: Tensor) -> Tensor:
        # cos² a - cos² b = sin(b - a) sin(b + a)
        rise = (self.last - self.first) * t
        return torch.sqrt(torch.sin(rise) * torch.sin(rise + 2 * self.first)) / math.cos(self.first)

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        # With r = 1 - ᾱ: sin² θ = sin² θ(0) + r cos² θ(0), the form that keeps its digits near t = 0.
        noise = torch.sigmoid(-log_snr)
        sine = torch.sqrt(math.sin(self.first) ** 2 + noise * math.cos(self.first) ** 2)
        cosine = torch.exp(-F.softplus(-log_snr) / 2) * math.cos(self.first)
        return unit_times((torch.atan2(sine, cosine) - self.first) / (self.last - self.first))

    def _angle(self, t: Tensor) -> Tensor:
        return self.first + (self.last - self.first) * t


class Exponential(Process):
    """ᾱ = exp(-rate · t): constant β, with rate 12 the process of Shap-E's latent diffusion."""

    def __init__(self, rate: Positive = 12.0):
        if rate <= 0:
            raise UserError(f"Exponential needs a positive rate, got {rate}")
        self.rate = rate

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-self.rate * t / 2)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self.rate * t))

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return unit_times(F.softplus(-log_snr) / self.rate)


class VarianceExploding(Process):
    """α = 1, σ = sigma_max · t^ρ: EDM's process (Karras et al. 2022).

    EDM takes σ itself as its time. Here t runs along the ρ-curve of its eq. 5 (with σ_min → 0), so that even steps in t
    are good steps for sampling.
    """

    def __init__(self, sigma_max: Positive = 80.0, rho: Positive = 7.0):
        if sigma_max <= 0 or rho <= 0:
            raise UserError(f"VarianceExploding needs positive sigma_max and rho, got {sigma_max} and {rho}")
        self.sigma_max = sigma_max
        self.rho = rho

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_max * t**self.rho

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return unit_times(torch.exp((-log_snr / 2 - math.log(self.sigma_max)) / self.rho))


class LinearInterpolation(Process):
    """α = 1 - t, σ = t: rectified flow (Liu et al. 2022, eq. 1), flow matching's straight path."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr / 2)


class PowerLaw(Process):
    """ᾱ = 1 - t^power: with power 5 the noise that Shap-E's autoencoder puts on its bottleneck."""

    def __init__(self, power: Positive = 5.0):
        if power <= 0:
            raise UserError(f"PowerLaw needs a positive power, got {power}")
        self.power = power

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sqrt(1 - t**self.power)

    def sigma(self, t: Tensor) -> Tensor:
        return t ** (self.power / 2)

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr) ** (1 / self.power)
