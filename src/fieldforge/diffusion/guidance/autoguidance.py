"""Guidance by a worse version of the model."""

from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import ConditionalDenoiser, Denoiser
from fieldforge.diffusion.guidance.extrapolate import extrapolate


class Autoguidance:
    """weak + scale · (model - weak), both with the condition (Karras et al. 2024, "Guiding with a bad version", eq. 3).

    `weak` is a smaller or less trained model of the same process. Scale 1 is the model as it is.
    """

    def __init__(self, scale: float, weak: ConditionalDenoiser):
        self.scale = scale
        self.weak = weak

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        if self.scale == 1:
            return lambda x_t, t: model(x_t, t, condition)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return extrapolate(self.weak(x_t, t, condition), model(x_t, t, condition), self.scale)

        return denoise
