"""The Gaussian posterior q(x_s | x_t, x₀) of the reverse process, for any two times s < t."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

Number = TypeVar("Number", float, Tensor)


@dataclass(frozen=True)
class PosteriorStep(Generic[Number]):
    """Mean of_x0 · x₀ + of_x_t · x_t and `variance` of q(x_s | x_t, x₀); `forward_variance` of q(x_t | x_s).

    Kingma et al. 2021, "VDM", eq. 25-28; DDPM's β̃ and β (Ho et al. 2020, eq. 7) when s and t are neighbours.
    """

    of_x0: Number
    of_x_t: Number
    variance: Number
    forward_variance: Number


def posterior_coefficients(
    alpha: Number, sigma: Number, next_alpha: Number, next_sigma: Number
) -> PosteriorStep[Number]:
    """From (α, σ) at t to the same at s < t, as float64 numbers or tensors."""
    ratio = alpha / next_alpha  # α_t|s
    forward_variance = sigma**2 - (ratio * next_sigma) ** 2  # σ²_t|s
    return PosteriorStep(
        of_x0=next_alpha * forward_variance / sigma**2,
        of_x_t=ratio * (next_sigma / sigma) ** 2,
        variance=forward_variance * (next_sigma / sigma) ** 2,
        forward_variance=forward_variance,
    )
