"""What samplers and guidance see of a model."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.noise.process import Process

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""denoise(x_t (B, T, C), t (B,)) → x0 (B, T, C): all that samplers see. They hand over t in float64 on the CPU."""


class Watched:
    """A denoiser that says after each evaluation how many there were; what else it offers stays reachable."""

    def __init__(self, denoise: Denoiser, look: Callable[[int], None]):
        self.denoise = denoise
        self.look = look
        self.evaluations = 0

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        x0 = self.denoise(x_t, t)
        self.evaluations += 1
        self.look(self.evaluations)
        return x0

    def __getattr__(self, name: str) -> object:
        return getattr(self.__dict__["denoise"], name)


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
