"""The training objective of a denoiser, as a function and as a configurable object."""

from typing import Any, Protocol

import torch
from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.parameterization import LOG_SNR_LIMIT, Parameterization
from fieldforge.diffusion.weighting import Weighting
from fieldforge.noise.process import Process, like


def output_weight(t: Tensor, process: Process, parameterization: Parameterization, weighting: Weighting) -> Tensor:
    """t (B,) → (B,): what the squared error of the *output* weighs, so that the x₀ error weighs `weighting`.

    As x̂₀ - x₀ = out · (F - target), the factor is w · out²; the product is taken in logarithms, where the infinities of
    the two cancel.
    """
    log_snr = process.log_snr(t.double()).clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)
    return torch.exp(weighting.log_weight(log_snr) + 2 * parameterization.log_out(log_snr))


def denoising_loss(
    model: DiffusionModel, x0: Tensor, noise: Tensor, t: Tensor, condition: Condition, weighting: Weighting
) -> Tensor:
    """Weighted mean squared error of every sample: x0 (B, T, C), noise (B, T, C), t (B,) → (B,).

    Equals w(λ) · mean (x̂₀ - x₀)², computed on the backbone's output (Ho et al. 2020, algorithm 1, lines 2-5, with the
    target of the model's parameterization).
    """
    process, parameterization = model.process, model.parameterization
    x_t = process.add_noise(x0, noise, t)  # (B, T, C)
    output = model.output(x_t, t, condition)  # (B, T, C)
    target = parameterization.target(x0, noise, process.alpha(t), process.sigma(t))  # (B, T, C)
    weight = output_weight(t, process, parameterization, weighting)  # (B,)
    squared_error = (output - target).square().flatten(1).mean(dim=1)  # (B,)
    return like(weight, squared_error) * squared_error


class Loss(Protocol):
    """The training objective. `model` is the class of models that it trains."""

    model: type[DiffusionModel]

    def __call__(
        self, model: Any, x0: Tensor, noise: Tensor, t: Tensor, condition: Condition, weighting: Weighting
    ) -> Tensor:
        """x0 (B, T, C), noise (B, T, C), t (B,) → (B,)."""
        ...


class DenoisingLoss:
    """`denoising_loss` as a configurable object."""

    model = DiffusionModel

    def __call__(
        self, model: DiffusionModel, x0: Tensor, noise: Tensor, t: Tensor, condition: Condition, weighting: Weighting
    ) -> Tensor:
        return denoising_loss(model, x0, noise, t, condition, weighting)
