"""Super-resolution: `from=` is the low-resolution input of a model with an aligned condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fieldforge.conditioning.aligned import noised
from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.conditioner import Conditioner

NOISE_SEEDS = 2**41  # added to a sample's seed: its condition's noise is another than the sample's own


@dataclass(frozen=True)
class CoarseFile:
    """A file as the features of the source that reads `coarse`.

    Args:
        values: (T, A), see `Domain.read_coarse`.
        strength: of its noise, 0…1: with more noise the model relies less on it.
    """

    values: np.ndarray
    strength: float

    def features(self, conditioner: Conditioner, seeds: Sequence[int]) -> dict[str, Features]:
        """The source's features of B samples, each noised by its seed."""
        (name,) = (name for name in conditioner.names if conditioner.source(name).key == "coarse")
        clean = conditioner.source(name).embed([self.values] * len(seeds), conditioner.device)
        if self.strength == 0:
            return {name: clean}
        generators = [torch.Generator().manual_seed(seed + NOISE_SEEDS) for seed in seeds]
        noise = torch.stack([torch.randn(self.values.shape, generator=generator) for generator in generators])
        return {name: noised(clean, torch.full((len(seeds),), self.strength), noise)}
