"""Where a mask is true. How many places that are follows from values; plans have none, and take what is usual."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

USUAL = 0.125  # where a place does not say
SPREAD = 0.6  # deviation of the share between things of furniture, over its mean

_share: ContextVar[float] = ContextVar("share", default=USUAL)
_fullness: ContextVar[float] = ContextVar("fullness", default=1.0)


def true_places(mask: Tensor, share: float) -> Tensor:
    """Indices (N,) of the true elements of a flattened mask, ascending.

    share: of the elements that are true on furniture, as a rule; tensors without values take it for theirs.
    """
    outer = _share.set(share)
    try:
        return mask.flatten().nonzero()[:, 0]
    finally:
        _share.reset(outer)


def expected_share() -> float:
    """The share of the mask that is being read now."""
    return min(1.0, _share.get() * _fullness.get())


@contextmanager
def fullest_batches(samples: int) -> Iterator[None]:
    """Inside this context shares are those of the fullest of many batches of so many samples: two deviations more."""
    outer = _fullness.set(1 + 2 * SPREAD / samples**0.5)
    try:
        yield
    finally:
        _fullness.reset(outer)
