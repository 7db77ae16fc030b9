"""A partial point cloud as a condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition, Features
from fieldforge.conditioning.source import Source
from fieldforge.nn.attention import Attention
from fieldforge.nn.embeddings import positional_encoding, positional_encoding_width
from fieldforge.nn.transformer import Transformer
from fieldforge.ranges import Count, Share, Whole

COORDINATES = 3


class PointsSource(Source):
    """N points in box units, read by K learned queries: a set encoder that is trained with the denoiser.

    Cross-attention from learned queries to points (3DShape2VecSet, Zhang et al. 2023, arXiv 2301.11445, section 5.1;
    its partial point clouds: section 6.3), then a transformer. Clouds of fewer points are padded and masked, of more
    thinned evenly.

    Args:
        width: D.
        count: N.
        queries: K, the tokens that the denoiser reads.
        inner: width of the encoder.
        tokens: whether to offer tokens besides the vector.
    """

    encodes = False
    of_latents = True

    def __init__(
        self,
        width: Count,
        key: str = "points",
        count: Count = 1024,
        queries: Count = 16,
        inner: Count = 128,
        heads: Count = 4,
        layers: Whole = 2,
        degrees: Whole = 6,
        tokens: bool = True,
        dropout: Share = 0.1,
        learned_null: bool = True,
    ) -> None:
        super().__init__(key, width, inner, inner if tokens else None, dropout, learned_null, normalize=False)
        self.count, self.degrees = count, degrees
        # What `embed` gives are the points themselves:
        self.vector_width, self.token_width, self.token_count = None, COORDINATES, count
        self.queries = nn.Parameter(torch.randn(queries, inner) * 0.02)
        self.to_point = nn.Linear(positional_encoding_width(degrees), inner)
        self.attention = Attention(inner, heads, inner)
        self.transformer = Transformer(inner, heads, layers)

    def embed(self, values: Sequence[np.ndarray] | Tensor, device: torch.device) -> Features:
        """B clouds (n, 3) in box units, each of its own n, as `tokens` (B, N, 3) with their mask."""
        clouds = torch.zeros(len(values), self.count, COORDINATES)
        mask = torch.zeros(len(values), self.count, dtype=torch.bool)
        for row, value in enumerate(values):
            cloud = torch.as_tensor(value, dtype=torch.float32)
            if len(cloud) > self.count:
                cloud = cloud[torch.arange(self.count) * len(cloud) // self.count]
            clouds[row, : len(cloud)], mask[row, : len(cloud)] = cloud, True
        return Features(tokens=clouds.to(device), mask=mask.to(device))

    def forward(self, features: Features) -> Condition:
        assert features.tokens is not None
        assert self.vector_projection is not None
        points = positional_encoding(features.tokens.float(), self.degrees).to(self.null_vector.dtype)  # (B, N, ·)
        queries = self.queries.expand(len(points), -1, -1)  # (B, K, inner)
        read = self.transformer(queries + self.attention(queries, self.to_point(points), features.mask))
        tokens = None if self.token_projection is None else self.token_projection(read)  # (B, K, D)
        return Condition(self.vector_projection(read.mean(1)), tokens)

    @property
    def has_statistics(self) -> bool:
        return False

    def fingerprint(self) -> Mapping[str, Any]:
        return {"key": self.key, "count": self.count}
