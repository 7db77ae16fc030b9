"""Guidance that a distilled model has learned."""

from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import ConditionalDenoiser, Denoiser
from fieldforge.errors import UserError


class Baked:
    """The model as it is, for one that does in one evaluation what its teacher did in two, at scale `distilled`.

    Meng et al. 2023, "On distillation of guided diffusion models", section 3. At scale 0 the model is unconditional;
    other scales it does not know.
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
