"""Guidance within an interval of noise levels."""

import math
from collections.abc import Callable

from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import ConditionalDenoiser, Denoiser, Guidance
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.errors import UserError
from fieldforge.ranges import Infinite, NotNegative


class Interval:
    """`guidance(scale)` while lowest < σ/α ≤ highest; the conditional model alone at other noise levels.

    Kynkäänniemi et al. 2024, "Applying guidance in a limited interval", eq. 5. Scale 0 is unconditional everywhere.
    """

    def __init__(
        self,
        scale: float,
        guidance: Callable[[float], Guidance] = ClassifierFree,
        lowest: NotNegative = 0.0,
        highest: Infinite = math.inf,
    ):
        if not 0 <= lowest < highest:
            raise UserError(f"guidance in an interval needs 0 <= lowest < highest, got {lowest:g} and {highest:g}")
        self.scale = scale
        self.guidance = guidance(scale)
        self.lowest = lowest
        self.highest = highest

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        guided = self.guidance(model, condition, null)
        if self.scale == 0:
            return guided

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            # Samplers hold t on the CPU and give the whole batch the same, so that this reads one number for free.
            sigma = math.exp(-float(model.process.log_snr(t[:1].double())) / 2)
            return guided(x_t, t) if self.lowest < sigma <= self.highest else model(x_t, t, condition)

        return denoise
