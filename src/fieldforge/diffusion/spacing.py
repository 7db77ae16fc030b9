"""Time spacing: the times of a sampler, from the noisiest to 0."""

import math
from typing import Protocol

import torch
from torch import Tensor

from fieldforge.errors import UserError
from fieldforge.noise.process import Process
from fieldforge.ranges import Count, Infinite, Positive


class Spacing(Protocol):
    """A rule for the times of a sampler."""

    def times(self, steps: int, process: Process) -> Tensor:
        """(steps + 1,) float64 on the CPU, falling, the last one 0."""
        ...


def _check(steps: int) -> None:
    if steps < 1:
        raise UserError(f"sampling needs at least 1 step, got {steps}")


class Uniform:
    """Even steps of t to 0: from t = 1, or from where σ/α is `sigma_max` if the process goes beyond.

    Above the noise levels of training a denoiser extrapolates; where α(1) = 0 a prediction of ε does not determine x₀.
    """

    def __init__(self, sigma_max: Infinite = math.inf):
        if not sigma_max > 0:
            raise UserError(f"Uniform needs a positive sigma_max, got {sigma_max}")
        self.sigma_max = sigma_max

    def times(self, steps: int, process: Process) -> Tensor:
        _check(steps)
        start = 1.0
        if math.isfinite(self.sigma_max):
            start = float(process.time_of_log_snr(torch.tensor(-2 * math.log(self.sigma_max), dtype=torch.float64)))
        return torch.linspace(start, 0, steps + 1, dtype=torch.float64)


class Trailing:
    """Even steps among `discretization` training times, the last of them first (Lin et al. 2023, section 3.3).

    For models that were trained on the times 1/D … D/D of a discrete process.
    """

    def __init__(self, discretization: Count = 1024):
        self.discretization = discretization

    def times(self, steps: int, process: Process) -> Tensor:
        _check(steps)
        if steps > self.discretization:
            raise UserError(f"Trailing has {self.discretization} times, {steps} steps do not fit")
        return torch.linspace(self.discretization, 0, steps + 1, dtype=torch.float64).round() / self.discretization


class Karras:
    """σ/α from `sigma_max` to `sigma_min` along a ρ-curve, then 0 (Karras et al. 2022, eq. 5).

    Levels above what the process reaches are clamped to its t = 1; Shap-E samples with 1e-3, 160 and 7.
    """

    def __init__(self, sigma_min: Positive = 1e-3, sigma_max: Positive = 160.0, rho: Positive = 7.0):
        if not 0 < sigma_min < sigma_max:
            raise UserError(f"Karras needs 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.rho = rho

    def times(self, steps: int, process: Process) -> Tensor:
        _check(steps)
        # Starting where the process ends keeps the clamp from spending several steps on the same time.
        ceiling = math.exp(-float(process.log_snr(torch.ones((), dtype=torch.float64))) / 2)
        highest = min(self.sigma_max, ceiling)
        ramp = torch.linspace(highest ** (1 / self.rho), self.sigma_min ** (1 / self.rho), steps, dtype=torch.float64)
        times = process.time_of_log_snr(-2 * self.rho * ramp.log())  # (steps,)
        return torch.cat([times, torch.zeros(1, dtype=torch.float64)])


class UniformLogSNR:
    """Even steps of λ = log(α²/σ²) from -`limit`, or where the process ends, to `limit`, then 0.

    Lu et al. 2022, "DPM-Solver", section 3.3.
    """

    def __init__(self, limit: Positive = 10.0):
        if limit <= 0:
            raise UserError(f"UniformLogSNR needs a positive limit, got {limit}")
        self.limit = limit

    def times(self, steps: int, process: Process) -> Tensor:
        _check(steps)
        lowest = max(-self.limit, float(process.log_snr(torch.ones((), dtype=torch.float64))))
        times = process.time_of_log_snr(torch.linspace(lowest, self.limit, steps, dtype=torch.float64))
        return torch.cat([times, torch.zeros(1, dtype=torch.float64)])


class Power:
    """σ/α = sigma_min + (sigma_max - sigma_min) u^ρ, u falling in even steps from 1; after the last of them t = 0.

    The times of n steps are a subset of the times of a multiple of n, as distillation requires. Only the last time is
    below `sigma_min`, where training may not have covered the noise level.
    """

    def __init__(self, sigma_min: Positive = 0.2, sigma_max: Positive = 100.0, rho: Positive = 3.0):
        if not 0 <= sigma_min < sigma_max or rho <= 0:
            raise UserError(
                f"Power needs 0 <= sigma_min < sigma_max and a positive rho, got {sigma_min}, {sigma_max} and {rho}"
            )
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.rho = rho

    def times(self, steps: int, process: Process) -> Tensor:
        _check(steps)
        ceiling = -float(process.log_snr(torch.ones((), dtype=torch.float64))) / 2
        highest = math.exp(min(math.log(self.sigma_max), ceiling))
        ramp = torch.arange(steps, 0, -1, dtype=torch.float64) / steps
        levels = self.sigma_min + (highest - self.sigma_min) * ramp**self.rho  # (steps,)
        return torch.cat([process.time_of_log_snr(-2 * levels.log()), torch.zeros(1, dtype=torch.float64)])


class Shifted:
    """Timestep shift of a base spacing towards more noise: t' = α t / (1 + (α - 1) t).

    Esser et al. 2024, "Stable Diffusion 3", eq. 23. `shift` is the paper's α = √(tokens / tokens of the base spacing):
    under the linear interpolation it multiplies σ/α. t = 0 and t = 1 stay fixed, under every process.
    """

    def __init__(self, spacing: Spacing, shift: Positive = 3.0):
        if shift <= 0:
            raise UserError(f"Shifted needs a positive shift, got {shift}")
        self.spacing = spacing
        self.shift = shift

    def times(self, steps: int, process: Process) -> Tensor:
        t = self.spacing.times(steps, process)
        return self.shift * t / (1 + (self.shift - 1) * t)
