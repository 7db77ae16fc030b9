"""The learning rate schedule."""

from __future__ import annotations

import math


def learning_rate(step: int, progress: float, warmup_steps: int, final_rate: float) -> float:
    """Share of the peak: linear warm-up over steps, then cosine decay over the progress to `final_rate`.

    Args:
        step: number of steps taken.
        progress: finished share of the training, 0 … 1.
        warmup_steps: steps of the warm-up.
        final_rate: share of the peak at progress 1.
    """
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    warmup = min(1.0, (step + 1) / (warmup_steps + 1))
    return warmup * (final_rate + (1 - final_rate) * cosine)
