"""Guidance where it helps."""

import math

from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import ConditionalDenoiser, Denoiser, Guidance


class Interval:
    """`guidance` while lowest < σ/α ≤ highest, the conditional model as it is elsewhere.

    Kynkäänniemi et al. 2024, "Applying guidance in a limited interval", eq. 5.
    """

    def __init__(self, guidance: Guidance, lowest: float = 0.0, highest: float = math.inf):
        self.guidance = guidance
        self.lowest = lowest
        self.highest = highest

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        guided = self.guidance(model, condition, null)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            # Samplers hold t on the CPU and give the whole batch the same, so that this reads one number for free.
            sigma = math.exp(-float(model.process.log_snr(t[:1].double())) / 2)
            return guided(x_t, t) if self.lowest < sigma <= self.highest else model(x_t, t, condition)

        return denoise
