"""The noise process: x_t = α(t) x₀ + σ(t) ε."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Process(ABC):
    """A Gaussian noise process on t in [0, 1]: clean at 0 (α = 1, σ = 0), noisiest at 1.

    All methods are elementwise, on any shape, in the dtype and on the device of their argument. Times are best kept in
    float64: near t = 0 the log-SNR changes by whole units within the last digits of a float32.
    """

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Factor of the signal."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise."""

    @abstractmethod
    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """The inverse of `log_snr`, clamped to [0, 1]."""

    def log_snr(self, t: Tensor) -> Tensor:
        """λ(t) = log(α² / σ²) (Kingma et al. 2021, "VDM", eq. 3); inf at t = 0, falling."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x0 (B, ...), noise (B, ...), t (B,) → x_t (B, ...)."""
        return like(self.alpha(t), x0) * x0 + like(self.sigma(t), x0) * noise


def like(values: Tensor, x: Tensor) -> Tensor:
    """Per-sample values (B,) as (B, 1, ..., 1), in the dtype and on the device of x (B, ...)."""
    return placed(values, x).reshape(-1, *[1] * (x.dim() - 1))


def placed(values: Tensor, x: Tensor) -> Tensor:
    """Values (B,) in the dtype and on the device of x. One number for all, as samplers have, is not copied there."""
    if values.device.type == "cpu" != x.device.type and bool((values == values[:1]).all()):
        return torch.full(values.shape, float(values[0]), dtype=x.dtype, device=x.device)
    return values.to(device=x.device, dtype=x.dtype)


def unit_times(t: Tensor) -> Tensor:
    """Clamp to [0, 1], where processes are defined."""
    return torch.clamp(t, 0.0, 1.0)
