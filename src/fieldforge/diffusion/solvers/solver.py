"""Common parts of solvers: α and σ at the sampler's times, the initial x_t, and fresh noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser
from fieldforge.errors import UserError
from fieldforge.noise.process import Process
from fieldforge.noise.randomness import Randomness, normal


class Solver(Protocol):
    """Turns noise into data by evaluations of a denoiser."""

    def sample(
        self, denoise: Denoiser, noise: Tensor, process: Process, times: Tensor, randomness: Randomness
    ) -> Tensor:
        """noise (B, T, C) standard normal, times (steps + 1,) falling to 0 → x0 (B, T, C)."""
        ...


@dataclass(frozen=True)
class Grid:
    """α and σ of a process at a sampler's times, as Python numbers: (steps + 1,) each."""

    t: list[float]
    alpha: list[float]
    sigma: list[float]

    @classmethod
    def of(cls, process: Process, times: Tensor) -> Grid:
        times = times.detach().to("cpu", torch.float64)
        if times.dim() != 1 or len(times) < 2 or bool((times.diff() >= 0).any()):
            raise UserError(f"times must fall from first to last, got {times.tolist()}")
        return cls(times.tolist(), process.alpha(times).tolist(), process.sigma(times).tolist())

    @property
    def steps(self) -> range:
        """Indices i of the steps from t[i] to t[i + 1]."""
        return range(len(self.t) - 1)

    def start(self, noise: Tensor) -> Tensor:
        """The first x_t: noise with the variance that data of unit variance has there."""
        return (self.alpha[0] ** 2 + self.sigma[0] ** 2) ** 0.5 * noise


def at(t: float, x: Tensor) -> Tensor:
    """One time for the whole batch, as denoisers want it: (B,), float64, CPU."""
    return torch.full((len(x),), t, dtype=torch.float64)


def fresh_noise(x: Tensor, randomness: Randomness) -> Tensor:
    """Standard normal numbers in the shape, dtype and place of x."""
    return normal(x.shape, randomness, x.dtype).to(x.device)
