"""Coordinates in which the probability-flow ODE is a plain dy/dτ = (y - x̂₀) / τ, with y = x_t / scale."""

from typing import Protocol

from fieldforge.errors import UserError


class Coordinates(Protocol):
    """The integration variable τ of the ODE."""

    def scale_and_tau(self, alpha: float, sigma: float) -> tuple[float, float]:
        """(α, σ) → (scale, τ)."""
        ...


class Exploding:
    """y = x_t / α = x₀ + τ ε with τ = σ/α (Karras et al. 2022, section 4, "σ(t) = t and s(t) = 1"). Needs α > 0."""

    def scale_and_tau(self, alpha: float, sigma: float) -> tuple[float, float]:
        if alpha == 0:
            raise UserError(
                "this sampler cannot start where no signal is left (alpha = 0): take times that start "
                "below t = 1 (spacing@sampler.spacing=karras), or sampler=ddim, flow_euler or flow_heun"
            )
        return alpha, sigma / alpha


class Straight:
    """y = x_t / (α + σ) = (1 - τ) x₀ + τ ε with τ = σ / (α + σ): flow matching's path, for every process."""

    def scale_and_tau(self, alpha: float, sigma: float) -> tuple[float, float]:
        return alpha + sigma, sigma / (alpha + sigma)
