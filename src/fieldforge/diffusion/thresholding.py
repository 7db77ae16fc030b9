"""Thresholding: a sampler may keep each denoised estimate in the range of the data."""

from typing import Protocol

import torch
from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser, Estimate, estimate
from fieldforge.errors import UserError
from fieldforge.ranges import Positive, Share


class Threshold(Protocol):
    """x0 (B, T, C) → x0 (B, T, C)."""

    def __call__(self, x0: Tensor) -> Tensor: ...


class Clip:
    """Clamps the estimate to ± `limit` (Ho et al. 2020, in the released code)."""

    def __init__(self, limit: Positive):
        if limit <= 0:
            raise UserError(f"Clip needs a positive limit, got {limit}")
        self.limit = limit

    def __call__(self, x0: Tensor) -> Tensor:
        return x0.clamp(-self.limit, self.limit)


class DynamicThreshold:
    """Clamps each sample to its own quantile of |x₀| and shrinks that to `limit`, where it is larger.

    Saharia et al. 2022, "Imagen", section 2.3, there with limit 1 for pixels.
    """

    def __init__(self, quantile: Share = 0.995, limit: Positive = 1.0):
        if not 0 < quantile <= 1 or limit <= 0:
            raise UserError(f"DynamicThreshold needs a quantile in (0, 1] and a limit above 0, got {quantile}, {limit}")
        self.quantile = quantile
        self.limit = limit

    def __call__(self, x0: Tensor) -> Tensor:
        reach = torch.quantile(x0.flatten(1).abs().float(), self.quantile, dim=1).to(x0.dtype)  # (B,)
        reach = reach.clamp(min=self.limit).reshape(-1, *[1] * (x0.dim() - 1))  # (B, 1, 1)
        return x0.clamp(-reach, reach) * (self.limit / reach)


class Thresholded:
    """A denoiser with thresholding of its estimates."""

    def __init__(self, denoise: Denoiser, threshold: Threshold):
        self.denoise = denoise
        self.threshold = threshold

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.estimate(x_t, t).x0

    def estimate(self, x_t: Tensor, t: Tensor) -> Estimate:
        result = estimate(self.denoise, x_t, t)
        return result._replace(x0=self.threshold(result.x0))
