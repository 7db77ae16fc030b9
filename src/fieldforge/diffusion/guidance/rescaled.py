"""Guidance with rescaled contrast."""

import torch
from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import ConditionalDenoiser, Denoiser
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.guidance.extrapolate import extrapolate
from fieldforge.ranges import Share


class Rescaled:
    """Classifier-free guidance rescaled to the standard deviation of the conditional estimate, by the share `phi`.

    Lin et al. 2023, "Common diffusion noise schedules", eq. 15-16, per sample. phi 0 is plain guidance. Scale 1 is the
    conditional model, 0 the unconditional model, both without rescaling.
    """

    def __init__(self, scale: float, phi: Share = 0.7):
        self.scale = scale
        self.phi = phi

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        if self.scale in (0, 1) or condition.batch_size is None:
            return ClassifierFree(self.scale)(model, condition, null)
        both = Condition.cat([condition, null])  # 2B rows

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            conditional, unconditional = model(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)  # (B, T, C)
            guided = extrapolate(unconditional, conditional, self.scale)  # (B, T, C)
            axes = tuple(range(1, guided.dim()))
            shrink = conditional.std(axes, keepdim=True) / guided.std(axes, keepdim=True)  # (B, 1, 1)
            return guided * (self.phi * shrink + 1 - self.phi)

        return denoise
