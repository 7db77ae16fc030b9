"""Guidance whose scale differs between the frames of a clip."""

from typing import Literal

import torch
from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import ConditionalDenoiser, Denoiser
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.ranges import Count


class OverFrames:
    """Classifier-free guidance from scale `least` at the given frame to `scale` at the frame farthest from it.

    linear: farthest is the last one (Stable Video Diffusion, Blattmann et al. 2023, appendix D.2, figure 16). triangle:
    the middle one, as an orbit comes back (SV3D, Voleti et al. 2024, arXiv 2403.12008, section 3.2). Scale 1 is the
    conditional model, 0 the unconditional model, at every frame.

    Args:
        scale: the greatest.
        frames: V; latents are V frames of equally many tokens.
    """

    def __init__(
        self, scale: float, frames: Count, shape: Literal["linear", "triangle"] = "linear", least: float = 1.0
    ):
        self.scale, self.frames, self.shape, self.least = scale, frames, shape, least

    def scales(self, device: torch.device | None = None) -> Tensor:
        """The scale of each frame (V,)."""
        way = torch.linspace(0, 1, self.frames, device=device)
        if self.shape == "triangle":
            way = 1 - (2 * way - 1).abs()
        return self.least + (self.scale - self.least) * way

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        if self.scale in (0, 1) or condition.batch_size is None:
            return ClassifierFree(self.scale)(model, condition, null)
        both = Condition.cat([condition, null])  # 2B rows
        scales = self.scales(both.device)[:, None, None]  # (V, 1, 1), on the device before the first evaluation

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            conditional, unconditional = model(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)  # (B, T, C)
            change = (conditional - unconditional).unflatten(1, (self.frames, -1))  # (B, V, n, C)
            return unconditional + (scales.to(change.dtype) * change).flatten(1, 2)

        return denoise
