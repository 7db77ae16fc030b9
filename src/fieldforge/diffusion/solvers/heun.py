"""Euler and Heun steps on the probability-flow ODE, with or without churn."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser
from fieldforge.diffusion.solvers.coordinates import Coordinates, Exploding
from fieldforge.diffusion.solvers.solver import Grid, at, fresh_noise
from fieldforge.errors import UserError
from fieldforge.noise.process import Process
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import Infinite, NotNegative, Positive


@dataclass(frozen=True)
class Churn:
    """Noise added back before each step (Karras et al. 2022, algorithm 2): S_churn, S_tmin, S_tmax, S_noise."""

    amount: NotNegative
    lowest: NotNegative = 0.0
    highest: Infinite = math.inf
    inflation: Positive = 1.0

    def factor(self, tau: float, steps: int) -> float:
        """1 + γ for a step that starts at τ."""
        return 1 + min(self.amount / steps, math.sqrt(2) - 1) if self.lowest <= tau <= self.highest else 1.0


class Euler:
    """One evaluation a step, first order (Karras et al. 2022, algorithm 2 without its correction)."""

    second_order = False

    def __init__(self, coordinates: Coordinates | None = None, churn: Churn | None = None):
        self.coordinates = coordinates or Exploding()
        self.churn = churn
        if churn is not None and not isinstance(self.coordinates, Exploding):
            raise UserError("churn adds noise to x₀ + τ ε: it needs Exploding coordinates")

    def sample(
        self, denoise: Denoiser, noise: Tensor, process: Process, times: Tensor, randomness: Randomness
    ) -> Tensor:
        grid = Grid.of(process, times)
        scale, tau = self.coordinates.scale_and_tau(grid.alpha[0], grid.sigma[0])
        y = grid.start(noise) / scale  # (B, T, C)
        for i in grid.steps:
            t = grid.t[i]
            scale, tau = self.coordinates.scale_and_tau(grid.alpha[i], grid.sigma[i])
            if self.churn is not None:
                y, t, scale, tau = self._add_noise(y, t, tau, process, len(grid.steps), randomness)
            next_scale, next_tau = self.coordinates.scale_and_tau(grid.alpha[i + 1], grid.sigma[i + 1])
            step = next_tau - tau
            slope = (y - denoise(scale * y, at(t, y))) / tau  # (B, T, C)
            proposal = y + step * slope  # (B, T, C)
            if self.second_order and next_tau > 0:
                next_slope = (proposal - denoise(next_scale * proposal, at(grid.t[i + 1], y))) / next_tau
                proposal = y + step * (slope + next_slope) / 2
            y = proposal
            scale = next_scale
        return scale * y

    def _add_noise(
        self, y: Tensor, t: float, tau: float, process: Process, steps: int, randomness: Randomness
    ) -> tuple[Tensor, float, float, float]:
        assert self.churn is not None
        factor = self.churn.factor(tau, steps)
        if factor > 1:
            # The process ends at t = 1: what it cannot reach is not added.
            time = process.time_of_log_snr(torch.tensor(-2 * math.log(tau * factor), dtype=torch.float64))
            alpha, sigma = float(process.alpha(time)), float(process.sigma(time))
            if sigma / alpha > tau:
                added = math.sqrt((sigma / alpha) ** 2 - tau**2) * self.churn.inflation
                return y + added * fresh_noise(y, randomness), float(time), alpha, sigma / alpha
        return y, t, float(process.alpha(torch.tensor(t, dtype=torch.float64))), tau


class Heun(Euler):
    """Two evaluations a step but for the last, second order (Karras et al. 2022, algorithms 1 and 2)."""

    second_order = True
