"""Classifier-free guidance."""

import torch
from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import ConditionalDenoiser, Denoiser
from fieldforge.diffusion.guidance.extrapolate import extrapolate


class ClassifierFree:
    """x̂₀(null) + scale · (x̂₀(condition) - x̂₀(null)) (Ho & Salimans 2022, eq. 6, with w = scale - 1).

    Scale 1 is the conditional model, exactly and at the cost of one evaluation; scale 0 is the unconditional model. A
    negative condition takes the place of the null condition: guidance then leads away from it.
    """

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        if self.scale in (0, 1) or condition.batch_size is None:  # (a model without sources has nothing to compare)
            only = null if self.scale == 0 else condition
            return lambda x_t, t: model(x_t, t, only)
        both = Condition.cat([condition, null])  # 2B rows

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            x0 = model(torch.cat([x_t, x_t]), torch.cat([t, t]), both)  # (2B, T, C)
            conditional, unconditional = x0.chunk(2)  # (B, T, C) each
            return extrapolate(unconditional, conditional, self.scale)

        return denoise
