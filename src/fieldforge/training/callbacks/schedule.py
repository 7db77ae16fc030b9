"""How the learning rate runs over a training."""

from __future__ import annotations

import math


def learning_rate(step: int, progress: float, warmup_steps: int, final_rate: float) -> float:
    """Share of the peak: a linear warm-up over steps, then a half cosine over the progress, down to `final_rate`.

    Args:
        step: number of steps taken.
        progress: share of the training that is over, 0 … 1.
        warmup_steps: steps below the peak at the start.
        final_rate: share of the peak at progress 1.
    """
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    warmup = min(1.0, (step + 1) / (warmup_steps + 1))
    return warmup * (final_rate + (1 - final_rate) * cosine)
