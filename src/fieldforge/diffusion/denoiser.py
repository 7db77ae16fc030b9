"""The interface of a model to samplers and guidance."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.noise.process import Process

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""denoise(x_t (B, T, C), t (B,)) → x0 (B, T, C): all that samplers see. They hand over t in float64 on the CPU."""


class Estimate(NamedTuple):
    """A denoiser's output: the estimate x0 (B, T, C) and, with a learned variance, its fraction (B, T, C).

    The fraction places the log-variance between β̃ (0) and β (1) (Nichol & Dhariwal 2021, eq. 15).
    """

    x0: Tensor
    fraction: Tensor | None = None


def estimate(denoise: Denoiser, x_t: Tensor, t: Tensor) -> Estimate:
    """The full output of one evaluation: the method `estimate` of denoisers that have it, x0 alone of the others."""
    own = getattr(denoise, "estimate", None)
    return Estimate(denoise(x_t, t)) if own is None else own(x_t, t)


Look = Callable[[int, Tensor], None]
"""look(number of evaluations so far, estimate x0 (B, T, C))"""


class Watched:
    """A denoiser that shows each of its estimates, with their number so far."""

    def __init__(self, denoise: Denoiser, look: Look):
        self.denoise = denoise
        self.look = look
        self.evaluations = 0

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.estimate(x_t, t).x0

    def estimate(self, x_t: Tensor, t: Tensor) -> Estimate:
        result = estimate(self.denoise, x_t, t)
        self.evaluations += 1
        self.look(self.evaluations, result.x0)
        return result


class Inside:
    """A denoiser whose evaluations happen inside a context."""

    def __init__(self, denoise: Denoiser, context: Callable[[], AbstractContextManager[None]]):
        self.denoise = denoise
        self.context = context

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.estimate(x_t, t).x0

    def estimate(self, x_t: Tensor, t: Tensor) -> Estimate:
        with self.context():
            return estimate(self.denoise, x_t, t)


class ConditionalDenoiser(Protocol):
    """A denoiser with the condition as an argument: what guidance wraps."""

    @property
    def process(self) -> Process: ...

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """x_t (B, T, C), t (B,) → x0 (B, T, C)."""
        ...


class Guidance(Protocol):
    """Turns a conditional denoiser into a guided denoiser."""

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        """`condition` and `null` (or a negative condition in its place) have the rows of the batch to come."""
        ...
