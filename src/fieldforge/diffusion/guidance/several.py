"""Guidance by several conditions at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import ConditionalDenoiser, Denoiser
from fieldforge.errors import UserError


class Several:
    """x̂₀(null) + Σ scaleᵢ · (x̂₀(conditionᵢ) - x̂₀(null)) (Liu et al. 2022, "Composable diffusion", eq. 11).

    The conditions are stacked: all B rows of the first, then all of the second (`Condition.cat`). A negative scale
    leads away from its condition. With one condition this is classifier-free guidance.
    """

    def __init__(self, scales: Sequence[float]):
        if not scales:
            raise UserError("Several needs at least one scale")
        self.scales = list(scales)

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        count = len(self.scales)
        if null.batch_size is None or condition.batch_size != count * null.batch_size:
            raise UserError(f"guidance has {count} scales: it needs as many conditions, stacked")
        stacked = Condition.cat([condition, null])  # (count + 1) · B rows

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            estimates = model(torch.cat([x_t] * (count + 1)), torch.cat([t] * (count + 1)), stacked)
            *steered, unconditional = estimates.chunk(count + 1)  # (B, T, C) each
            return unconditional + sum(
                scale * (x0 - unconditional) for scale, x0 in zip(self.scales, steered, strict=True)
            )

        return denoise
