"""What guidance is, and the arithmetic that most of it shares."""

from typing import Protocol

from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.model import ConditionalDenoiser, Denoiser


class Guidance(Protocol):
    """Steers a conditional denoiser and is a denoiser again."""

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        """`condition` and `null` (or a negative condition in its place) have the rows of the batch to come."""
        ...


def extrapolate(weak: Tensor, strong: Tensor, scale: float) -> Tensor:
    """From `weak` (scale 0) through `strong` (scale 1) and beyond."""
    return weak + scale * (strong - weak)
