"""What samplers and guidance see of a model."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.noise.process import Process

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""denoise(x_t (B, T, C), t (B,)) → x0 (B, T, C): all that samplers see. They hand over t in float64 on the CPU."""


class Estimate(NamedTuple):
    """What a denoiser knows of the data: x0 (B, T, C), and where its variance is learned, the fraction (B, T, C) of the
    way from β̃ to β at which it lies (Nichol & Dhariwal 2021, eq. 15)."""

    x0: Tensor
    fraction: Tensor | None = None


def estimate(denoise: Denoiser, x_t: Tensor, t: Tensor) -> Estimate:
    """All that one evaluation gives: of denoisers with a method `estimate`, that; of others x0 alone."""
    own = getattr(denoise, "estimate", None)
    return Estimate(denoise(x_t, t)) if own is None else own(x_t, t)


class Watched:
    """A denoiser that says after each evaluation how many there were."""

    def __init__(self, denoise: Denoiser, look: Callable[[int], None]):
        self.denoise = denoise
        self.look = look
        self.evaluations = 0

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.estimate(x_t, t).x0

    def estimate(self, x_t: Tensor, t: Tensor) -> Estimate:
        result = estimate(self.denoise, x_t, t)
        self.evaluations += 1
        self.look(self.evaluations)
        return result


class ConditionalDenoiser(Protocol):
    """A denoiser that still wants its condition: what guidance wraps."""

    @property
    def process(self) -> Process: ...

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """x_t (B, T, C), t (B,) → x0 (B, T, C)."""
        ...


class Guidance(Protocol):
    """Steers a conditional denoiser and is a denoiser again."""

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        """`condition` and `null` (or a negative condition in its place) have the rows of the batch to come."""
        ...
