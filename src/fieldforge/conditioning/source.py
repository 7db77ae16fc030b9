"""A condition source: frozen features → projected condition, with its own null and its own dropout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        learned_null: a learned null for dropped samples; False = zeros (after the projection, where there is one).
        token_count: number of tokens where it is fixed (grids). With a projection each token then has a learned
            positional embedding, and the null is one token; without, the null has this number of tokens.
        normalize: layer norm of the features over F before the projection, independent of the encoder's scale.
        projection: False offers the features themselves, for backbones with a projection of their own: the vector at
            unit length, the tokens as the encoder gives them. D is then F.

    Raises:
        UserError: without a projection, features of another width than D.

    Buffers (with `normalize`): `vector_mean`, `vector_std` (F,) of the training data's vectors, set by
    `set_statistics`: the part that all vectors share carries no information and would drown the differences.
    """

    encodes = True
    """Whether `embed` runs a network; else it runs on the host, and the features come to a device with their batch."""
    of_latents = False
    """Whether the values come with latents, from transforms of their data, and at sampling from `Domain.opening`."""
    aligned_channels = 0
    """A: numbers that the source has at each latent token."""
    frame_numbers = 0
    """Numbers that the source has of each frame of a clip."""
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
        token_count: int | None = None,
        normalize: bool = True,
        projection: bool = True,
    ) -> None:
        super().__init__()
        assert 0.0 <= dropout <= 1.0, f"dropout is a probability, not {dropout}"
        assert vector_width or token_width, f"the source that reads {key!r} offers neither a vector nor tokens"
        self.key, self.width, self.dropout = key, width, dropout
        self.vector_width, self.token_width, self.token_count = vector_width, token_width, token_count
        self.projection, self.normalize = projection, normalize and projection
        self.vector_projection = self._projection(vector_width)
        self.token_projection = self._projection(token_width)
        self.positions = nn.Parameter(torch.randn(token_count, width) * 0.02) if projection and token_count else None
        if vector_width and self.normalize:
            self.register_buffer("vector_mean", torch.zeros(vector_width))
            self.register_buffer("vector_std", torch.ones(vector_width))
        null_tokens = (width,) if projection or token_count is None else (token_count, width)
        for name, offered, shape in (("null_vector", vector_width, (width,)), ("null_token", token_width, null_tokens)):
            if offered and learned_null:
                self.register_parameter(name, nn.Parameter(torch.randn(shape) * 0.02))
            elif offered:
                self.register_buffer(name, torch.zeros(shape), persistent=False)

    @abstractmethod
    def embed(self, values: Any, device: torch.device) -> Features:
        """Features of the batch's values: from frozen encoders, without gradient, on `device`."""

    def unload(self) -> None:
        """Frees the memory of frozen networks and of features that are kept; they come back when they are needed."""
        encoder = getattr(self, "encoder", None)
        if encoder is not None:
            vars(encoder).pop("network", None)

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
            if not self.projection:
                vector = F.normalize(vector, dim=-1)
            vector = self.vector_projection(vector)  # (B, D)
        if self.token_projection is not None:
            if features.tokens is None:
                raise lacking(self.key, "tokens")
            tokens = self.token_projection(features.tokens.to(self.null_token.dtype))  # (B, L, D)
            if self.positions is not None:  # of several grids each has the same
                tokens = tokens + self.positions.repeat(tokens.shape[1] // len(self.positions), 1)  # (B, L, D)
            mask = features.mask  # (B, L)
        return Condition(vector, tokens, mask)

    @property
    def gives_a_vector_alone(self) -> bool:
        """Whether it adds a vector to those of the others, and nothing else."""
        return bool(self.vector_width) and not (self.token_width or self.aligned_channels or self.frame_numbers)

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
        """The null of this source: one vector (B, D) and one real token (B, 1, D).

        Without a projection it has as many tokens as a grid.
        """
        vector = tokens = None
        if self.vector_projection is not None:
            vector = self.null_vector.expand(batch_size, -1)  # (B, D)
        if self.token_projection is not None:
            tokens = self.null_token.view(-1, self.width).expand(batch_size, -1, -1)  # (B, 1 or L, D)
        return Condition(vector, tokens)

    def silent_weights(self) -> dict[str, Tensor]:
        """Weights with which its vector is zero, whatever it reads: those of the last layer and the null are zeros.

        Beside sources whose vectors are added, it then changes nothing until it is trained.
        """
        weights = dict(self.state_dict())
        layers = [name.rpartition(".")[0] for name in weights if name.startswith("vector_projection.")]
        zeros = ("null_vector", *(f"{layer}." for layer in sorted(layers)[-1:]))
        return {name: torch.zeros_like(value) if name.startswith(zeros) else value for name, value in weights.items()}

    def _projection(self, features: int | None) -> nn.Module | None:
        """Map of features (..., F) to the condition width D; None where they are not offered."""
        if features is None:
            return None
        if not self.projection:
            if features != self.width:
                raise UserError(
                    f"conditioner.width={self.width}, but features without a projection are {features} wide: set "
                    f"conditioner.width={features}, or projection=true"
                )
            return nn.Identity()
        if not self.normalize:
            return nn.Linear(features, self.width, bias=False)
        return nn.Sequential(nn.LayerNorm(features, elementwise_affine=False), nn.Linear(features, self.width))


def lacking(key: str, part: str) -> UserError:
    return UserError(
        f"the stored features of {key!r} have no {part}, but the conditioner wants them: remove their folder below "
        f"embeddings/ and embed again, or set {part}=false"
    )
