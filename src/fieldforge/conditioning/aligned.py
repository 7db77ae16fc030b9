"""Aligned condition: numbers at each latent token, such as the colours of a low-resolution picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition, Features
from fieldforge.conditioning.source import Source
from fieldforge.nn.embeddings import NoiseLevelEmbedding
from fieldforge.noise import randomness as random_numbers
from fieldforge.ranges import Count, Share


class AlignedSource(Source):
    """Numbers in about -1…1 at each latent token, which the backbone reads beside the noisy latent.

    Conditioning augmentation (cascaded diffusion, Ho et al. 2022, arXiv 2106.15282, section 3): training adds Gaussian
    noise of random strength to the condition and gives the strength to the model. So the model learns not to rely on
    details, and sampling can noise a condition that is worse than those of training. T latent tokens, A numbers at
    each.

    Args:
        width: D, of the vector that encodes the strength of the noise.
        channels: A.
        noise: the greatest `strength` of the noise in training, see `noised`.
        key: the entry of the batch, (B, T, A).
    """

    def __init__(
        self,
        width: Count,
        channels: Count,
        noise: Share = 0.5,
        key: str = "coarse",
        dropout: Share = 0.1,
        learned_null: bool = True,
    ) -> None:
        super().__init__(key, width, 1, None, dropout, learned_null, normalize=False)
        self.aligned_channels, self.noise = channels, noise
        self.vector_projection: nn.Module = NoiseLevelEmbedding(width)

    def embed(self, values: Sequence[np.ndarray] | Tensor, device: torch.device) -> Features:
        """Features of B arrays (T, A): `aligned` (B, T, A) as it is, `vector` (B, 1) the strength of its noise, 0."""
        stacked = values if isinstance(values, Tensor) else torch.from_numpy(np.stack(values))
        return Features(torch.zeros(len(stacked), 1, device=device), aligned=stacked.to(device).float())

    def augmented(self, features: Features, randomness: random_numbers.Randomness) -> Features:
        """Features noised with a strength that is uniform in 0…`noise`."""
        assert features.aligned is not None
        strength = self.noise * random_numbers.uniform((len(features.aligned),), randomness)  # (B,)
        return noised(features, strength, random_numbers.normal(features.aligned.shape, randomness))

    def forward(self, features: Features) -> Condition:
        assert features.vector is not None
        strength = features.vector[:, 0].to(self.null_vector.dtype)  # (B,)
        return Condition(self.vector_projection(strength), aligned=features.aligned)

    def null(self, batch_size: int) -> Condition:
        """Zeros (B, 1, A) at every token, and a null vector (B, D)."""
        vector = super().null(batch_size).vector
        return Condition(vector, aligned=self.null_vector.new_zeros(batch_size, 1, self.aligned_channels))

    def fingerprint(self) -> Mapping[str, Any]:
        return {"key": self.key, "channels": self.aligned_channels}


def noised(features: Features, strength: Tensor, noise: Tensor) -> Features:
    """cos(s π/2) · aligned + sin(s π/2) · noise (B, T, A), for strengths s (B,) in 0…1: σ/α = tan(s π/2)."""
    assert features.aligned is not None
    angle = (strength * math.pi / 2).to(features.aligned).view(-1, 1, 1)
    aligned = angle.cos() * features.aligned + angle.sin() * noise.to(features.aligned)
    return Features(strength.to(features.aligned)[:, None], aligned=aligned)


class FirstFrameSource(AlignedSource):
    """The latent of a clip's first frame, beside the noisy latent of every frame, under noise as any aligned condition.

    Blattmann et al. 2023 (arXiv 2311.15127), section 4.2 and appendix D.1. T = h · w, the places of one frame.
    """

    of_latents = True

    def __init__(
        self,
        width: Count,
        channels: Count,
        noise: Share = 0.1,
        key: str = "first_frame",
        dropout: Share = 0.0,
        learned_null: bool = True,
    ) -> None:
        super().__init__(width, channels, noise, key, dropout, learned_null)
