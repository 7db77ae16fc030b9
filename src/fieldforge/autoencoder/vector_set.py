"""Latents as a set of vectors without order: how points become one, and how one becomes a field's tokens.

3DShape2VecSet (Zhang et al. 2023, arXiv 2301.11445), with the self-attention before the bottleneck of its successors
(Dora, Chen et al. 2024, arXiv 2412.17808; TripoSG, Li et al. 2025, arXiv 2502.06608). No weight belongs to a token, so
that one model takes any number of them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fieldforge.autoencoder.encoders import SURFACE_WIDTH, RandomEncoder, appearance
from fieldforge.autoencoder.point_queries import spread_points
from fieldforge.errors import UserError
from fieldforge.nn.attention import Attention
from fieldforge.nn.embeddings import positional_encoding, positional_encoding_width
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.nn.transformer import FeedForward, Transformer
from fieldforge.noise.randomness import Randomness, choice
from fieldforge.ranges import Count, Whole


class VectorSetEncoder(RandomEncoder):
    """Some of the points read all of them by cross-attention, then look at each other.

    Args:
        tokens: T, in evaluation.
        training_tokens: numbers of tokens, of which each training step takes one for its whole batch.
        width: of a token before the bottleneck.
        degrees: of the position encoding.
        checkpointing: activations of the blocks are computed again in the backward pass.
    """

    def __init__(
        self,
        tokens: Count = 256,
        training_tokens: Sequence[Count] = (64, 128, 256),
        width: Count = 256,
        heads: Count = 4,
        layers: Whole = 2,
        degrees: Whole = 6,
        checkpointing: bool = False,
    ):
        super().__init__()
        if not training_tokens:
            raise ValueError("VectorSetEncoder: training_tokens is empty: give the numbers of tokens to train with")
        # The most come first: a step without values draws 0, and a plan has to be of the step that takes most.
        self.training_tokens = sorted(training_tokens, reverse=True)
        self.degrees = degrees
        self.latent_shape = LatentShape(tokens, width)
        self.embed = nn.Linear(positional_encoding_width(degrees) + SURFACE_WIDTH - 3, width)
        self.norm_points, self.norm_queries = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read = Attention(width, heads, context_width=width)
        self.feed = nn.Sequential(nn.LayerNorm(width), FeedForward(width))
        self.transformer = Transformer(width, heads, layers, checkpointing=checkpointing)
        self.norm = nn.LayerNorm(width)

    def forward(self, surface: Tensor, randomness: Randomness | None = None) -> Tensor:
        """surface (B, N, 9) → (B, T, width). ValueError without randomness in training, UserError where N < T."""
        tokens = self.token_count(randomness)
        if surface.shape[1] < tokens:
            raise UserError(
                f"autoencoder.encoder: {tokens} tokens begin as points, and a sample has {surface.shape[1]}: give "
                f"data.transforms.surface.points and domain.points at least as many, or take fewer tokens"
            )
        encoded = positional_encoding(surface[..., :3], self.degrees)
        points = self.embed(torch.cat([encoded, appearance(surface)], -1))  # (B, N, width)
        index = spread_points(surface, tokens)[..., None]  # (B, T, 1)
        queries = points.gather(1, index.expand(-1, -1, points.shape[-1]))  # (B, T, width)
        h = queries + self.read(self.norm_queries(queries), self.norm_points(points))  # (B, T, width)
        return self.norm(self.transformer(h + self.feed(h)))

    def token_count(self, randomness: Randomness | None) -> int:
        """T of this pass: one of `training_tokens` in training, else that of `latent_shape`."""
        if not self.training:
            return self.latent_shape.tokens
        if randomness is None:
            raise ValueError("VectorSetEncoder draws its tokens' number in training mode: pass it randomness")
        return self.training_tokens[choice(len(self.training_tokens), randomness)]


class VectorSetDecoder(nn.Module):
    """Latents look at each other, without positions, and become the tokens of an `AttentionField`.

    ValueError where the field reads anything else than as many tokens as the autoencoder makes.
    """

    def __init__(
        self,
        tokens: int,
        channels: int,
        width: Count,
        heads: Count,
        layers: Whole,
        param_shapes: dict[str, tuple[int, int]],
        checkpointing: bool = False,
    ):
        super().__init__()
        if set(param_shapes) != {"tokens"} or param_shapes["tokens"][0] != tokens:
            raise ValueError(
                f"VectorSetDecoder: the field reads {param_shapes}, and {tokens} tokens come: take AttentionField "
                f"with tokens={tokens}"
            )
        self.from_latent = nn.Linear(channels, width)
        self.transformer = Transformer(width, heads, layers, checkpointing=checkpointing)
        self.to_tokens = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, param_shapes["tokens"][1]))

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        """latents (B, T, C) of any number → tokens (B, T, token width)."""
        return {"tokens": self.to_tokens(self.transformer(self.from_latent(latents)))}
