"""Guidance between estimates that are kept in the range of the data, each by itself."""

from collections.abc import Callable

from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import ConditionalDenoiser, Denoiser, Guidance
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.thresholding import Clip
from fieldforge.noise.process import Process
from fieldforge.ranges import Positive


class Clipped:
    """`guidance(scale)` of estimates that are clamped to ± `limit` first; what it makes of them may lie beyond.

    The order of Shap-E's own sampler. A sampler's threshold clamps the guided estimate instead.
    """

    def __init__(
        self, scale: float, guidance: Callable[[float], Guidance] = ClassifierFree, limit: Positive = 1.0
    ) -> None:
        self.guidance = guidance(scale)
        self.clip = Clip(limit)

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        return self.guidance(_ClippedModel(model, self.clip), condition, null)


class _ClippedModel:
    """A conditional denoiser with clamped estimates."""

    def __init__(self, model: ConditionalDenoiser, clip: Clip):
        self.model, self.clip = model, clip

    @property
    def process(self) -> Process:
        return self.model.process

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.clip(self.model(x_t, t, condition))
