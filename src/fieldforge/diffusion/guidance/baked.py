"""Guidance of a distilled model, which has learned its teacher's guidance scale."""

from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import ConditionalDenoiser, Denoiser
from fieldforge.errors import UserError


class Baked:
    """No extrapolation: one evaluation of the model replaces two of its teacher, at the guidance scale `distilled`.

    Meng et al. 2023, "On distillation of guided diffusion models", section 3. At scale 0 the model is unconditional; it
    supports no other scale.
    """

    def __init__(self, scale: float, distilled: float):
        if scale not in (0, distilled):
            raise UserError(
                f"this model was distilled at guidance {distilled:g} and knows no guidance={scale:g}: give "
                f"guidance={distilled:g}, or 0 for unconditional samples"
            )
        self.scale = scale

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        only = null if self.scale == 0 else condition

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return model(x_t, t, only)

        return denoise
