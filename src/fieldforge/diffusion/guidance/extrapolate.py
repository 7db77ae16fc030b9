"""Linear extrapolation, which most kinds of guidance share."""

from torch import Tensor


def extrapolate(weak: Tensor, strong: Tensor, scale: float) -> Tensor:
    """From `weak` (scale 0) through `strong` (scale 1) and beyond."""
    return weak + scale * (strong - weak)
