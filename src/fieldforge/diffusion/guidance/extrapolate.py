"""The arithmetic that most guidance shares."""

from torch import Tensor


def extrapolate(weak: Tensor, strong: Tensor, scale: float) -> Tensor:
    """From `weak` (scale 0) through `strong` (scale 1) and beyond."""
    return weak + scale * (strong - weak)
