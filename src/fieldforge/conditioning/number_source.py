"""Numbers as a condition: of a clip (its rate, how much moves in it), or of each of its frames (directions)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition, Features
from fieldforge.conditioning.source import Source
from fieldforge.nn.embeddings import sinusoidal_embedding
from fieldforge.ranges import Count, Positive, Share


class NumbersSource(Source):
    """K numbers of order 1 as sinusoids: micro-conditions of Stable Video Diffusion and of SV3D.

    Blattmann et al. 2023 (arXiv 2311.15127), section 4 and appendix D.1: rate and motion of a clip, one vector. Voleti
    et al. 2024 (arXiv 2403.12008), section 3.1: elevation and azimuth of each frame, a vector a frame.

    Args:
        width: D.
        key: the entry of the batch, (B, K), or (B, V, K) with `each_frame`.
        count: K.
        each_frame: whether every frame of a clip has its own.
        waves: numbers of the sinusoids of a number.
        highest: frequency of the fastest one.
    """

    encodes = False
    of_latents = True

    def __init__(
        self,
        width: Count,
        key: str,
        count: Count,
        each_frame: bool = False,
        waves: Count = 32,
        highest: Positive = 30.0,
        dropout: Share = 0.0,
        learned_null: bool = True,
    ) -> None:
        super().__init__(key, width, count, None, dropout, learned_null, normalize=False)
        self.count, self.each_frame, self.waves, self.highest = count, each_frame, waves, highest
        self.vector_projection: nn.Module = nn.Sequential(
            nn.Linear(count * waves, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.frame_numbers = count if each_frame else 0
        if each_frame:
            self.vector_width = None

    def embed(self, values: Sequence[np.ndarray] | Tensor, device: torch.device) -> Features:
        """Features of B arrays as they are: `vector` (B, K), or `frames` (B, V, K)."""
        stacked = values if isinstance(values, Tensor) else torch.from_numpy(np.stack(values))
        numbers = stacked.to(device).float()
        return Features(frames=numbers) if self.each_frame else Features(numbers)

    def forward(self, features: Features) -> Condition:
        numbers = features.frames if self.each_frame else features.vector
        assert numbers is not None, f"{self.key} has numbers of {'frames' if self.each_frame else 'clips'}"
        waves = sinusoidal_embedding(numbers.flatten(), self.waves, self.highest)  # (B · V · K, waves)
        embedded = self.vector_projection(waves.view(*numbers.shape[:-1], -1).to(self.null_vector.dtype))  # (B, …, D)
        return Condition(frames=embedded) if self.each_frame else Condition(embedded)

    @property
    def has_statistics(self) -> bool:
        return False

    def null(self, batch_size: int) -> Condition:
        """A null vector (B, D), or one for all frames (B, 1, D)."""
        vector = self.null_vector.expand(batch_size, -1)
        return Condition(frames=vector[:, None]) if self.each_frame else Condition(vector)

    def fingerprint(self) -> Mapping[str, Any]:
        return {"key": self.key, "count": self.count, "each_frame": self.each_frame}
