"""A condition source: frozen features → projected condition, with its own null and its own dropout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition, Features
from fieldforge.errors import UserError
from fieldforge.noise.randomness import Randomness


class Source(nn.Module, ABC):
    """Projects the features of one source to the condition width D, and replaces dropped samples by its null.

    A subclass computes the features (`embed`, frozen, no gradient). The widths define whether it offers a vector and
    tokens: None = not offered.

    Args:
        key: the entry of the batch that the source reads (`class`, `caption`, `image`).
        width: D.
        vector_width, token_width: F of the pooled vector and of the tokens; None where the source has none.
        dropout: probability that a sample loses this source in training, independent of the other sources.
        learned_null: a learned null for dropped samples; False = zeros after the projection.
        positions: number of tokens where it is fixed (grids): each token then has a learned positional embedding.
        normalize: layer norm of the features over F before the projection, independent of the encoder's scale.

    Buffers (with `normalize`): `vector_mean`, `vector_std` (F,) of the training data's vectors, set by
    `set_statistics`: the part that all vectors share carries no information and would drown the differences.
    """

    aligned_channels = 0
    """A: numbers that the source has at each latent token."""
    vector_mean: Tensor
    vector_std: Tensor
    null_vector: Tensor
    null_token: Tensor

    def __init__(
        self,
        key: str,
        width: int,
        vector_width: int | None,
        token_width: int | None,
        dropout: float = 0.1,
        learned_null: bool = True,
        positions: int | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        assert 0.0 <= dropout <= 1.0, f"dropout is a probability, not {dropout}"
        assert vector_width or token_width, f"the source that reads {key!r} offers neither a vector nor tokens"
        self.key, self.width, self.dropout, self.normalize = key, width, dropout, normalize
        self.vector_projection = _projection(vector_width, width, normalize)
        self.token_projection = _projection(token_width, width, normalize)
        self.positions = nn.Parameter(torch.randn(positions, width) * 0.02) if positions else None
        if vector_width and normalize:
            self.register_buffer("vector_mean", torch.zeros(vector_width))
            self.register_buffer("vector_std", torch.ones(vector_width))
        for name, offered in (("null_vector", vector_width), ("null_token", token_width)):
            if offered and learned_null:
                self.register_parameter(name, nn.Parameter(torch.randn(width) * 0.02))
            elif offered:
                self.register_buffer(name, torch.zeros(width), persistent=False)

    @abstractmethod
    def embed(self, values: Any, device: torch.device) -> Features:
        """Features of the batch's values: from frozen encoders, without gradient, on `device`."""

    def augmented(self, features: Features, randomness: Randomness) -> Features:
        """The features of a training step: unchanged, except for sources that override this."""
        return features

    @abstractmethod
    def fingerprint(self) -> Mapping[str, Any]:
        """The values that determine the features: two sources with equal fingerprints give equal features."""

    def forward(self, features: Features) -> Condition:
        vector = tokens = mask = None
        if self.vector_projection is not None:
            if features.vector is None:
                raise lacking(self.key, "vector")
            vector = features.vector.to(self.null_vector.dtype)  # (B, F)
            if self.normalize:
                vector = (vector - self.vector_mean) / self.vector_std
            vector = self.vector_projection(vector)  # (B, D)
        if self.token_projection is not None:
            if features.tokens is None:
                raise lacking(self.key, "tokens")
            tokens = self.token_projection(features.tokens.to(self.null_token.dtype))  # (B, L, D)
            tokens = tokens if self.positions is None else tokens + self.positions  # (B, L, D)
            mask = features.mask  # (B, L)
        return Condition(vector, tokens, mask)

    @property
    def has_statistics(self) -> bool:
        return self.vector_projection is not None and self.normalize

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and deviation (F,) of the vectors that this source will see."""
        self.vector_mean.copy_(mean)
        self.vector_std.copy_(std)

    def offered(self, encoded: Features) -> Features:
        """The part of an encoder's output that this source uses, in float16: stored features equal live ones."""
        return encoded.only(self.vector_projection is not None, self.token_projection is not None).to(torch.float16)

    def null(self, batch_size: int) -> Condition:
        """The null of this source: one vector (B, D) and one real token (B, 1, D)."""
        vector = tokens = None
        if self.vector_projection is not None:
            vector = self.null_vector.expand(batch_size, -1)  # (B, D)
        if self.token_projection is not None:
            tokens = self.null_token.expand(batch_size, 1, -1)  # (B, 1, D)
        return Condition(vector, tokens)


def lacking(key: str, part: str) -> UserError:
    return UserError(
        f"the stored features of {key!r} have no {part}, but the conditioner wants them: remove their folder below "
        f"embeddings/ and embed again, or set {part}=false"
    )


def _projection(features: int | None, width: int, normalize: bool) -> nn.Module | None:
    if features is None:
        return None
    if not normalize:
        return nn.Linear(features, width, bias=False)
    return nn.Sequential(nn.LayerNorm(features, elementwise_affine=False), nn.Linear(features, width))
