"""The transformer with adaptive norms."""

import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition
from fieldforge.nn.embeddings import NoiseLevelEmbedding
from fieldforge.nn.grouping import common_group
from fieldforge.nn.transformer import Modulation, Transformer
from fieldforge.ranges import Count, Whole


class PlacedVector(nn.Module):
    """A vector (B, D), read by each token through a projection of low rank of its own → (B, tokens, width).

    Modulation tells all tokens the same, so that the blocks have to find out what a vector means at which place; this
    says it there from the first layer on.
    """

    def __init__(self, vector_width: int, tokens: int, rank: int, width: int):
        super().__init__()
        self.rank = rank
        self.to_tokens = nn.Linear(vector_width, tokens * rank)
        self.to_width = nn.Linear(rank, width)

    def forward(self, vector: Tensor) -> Tensor:
        return self.to_width(self.to_tokens(vector).unflatten(-1, (-1, self.rank)))


class DiT(nn.Module):
    """Transformer on latent tokens, modulated by noise level and condition vector (Peebles & Xie 2022, "DiT").

    Tokens get learned positions and, with a `condition_rank`, a reading of the condition's vector of their own; with
    `cross_attention` every block also looks at the condition's tokens. A part that the condition lacks (no vector, no
    tokens) is passed over. The output starts at zero. `output_channels` is a multiple of `channels`, 2 for a learned
    variance.

    `group` neighbouring latent tokens are one token inside, as patches are there: the greatest number that divides both
    T and `group`. Where they hold more numbers than `width`, their noise does not fit through the blocks. So the
    input also goes around the blocks, each number times a gain that depends on noise level and condition: independent
    Gaussian numbers have no better denoiser.
    """

    def __init__(
        self,
        tokens: Count,
        channels: Count,
        width: Count,
        layers: Whole,
        heads: Count,
        condition_width: Count,
        cross_attention: bool = False,
        qk_norm: bool = True,
        checkpointing: bool = False,
        output_channels: int | None = None,
        group: Count = 1,
        condition_rank: Whole = 0,
    ):
        super().__init__()
        self.group = group = common_group(tokens, group, "backbone.group")
        self.cross_attention = cross_attention
        self.embed = nn.Linear(group * channels, width)
        self.positions = nn.Parameter(torch.randn(tokens // group, width) * 0.02)
        self.embed_noise_level = NoiseLevelEmbedding(width)
        self.embed_condition = nn.Linear(condition_width, width)
        self.place_condition: PlacedVector | None = None
        if condition_rank:
            self.place_condition = PlacedVector(condition_width, tokens // group, condition_rank, width)
        context_width = condition_width if cross_attention else None
        self.transformer = Transformer(
            width, heads, layers, width, context_width, qk_norm=qk_norm, checkpointing=checkpointing
        )
        self.final_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.final_modulation = Modulation(width, width, count=2)
        self.outputs = (output_channels or channels) // channels
        self.gain = Modulation(width, group * channels * self.outputs, count=1)
        self.project = nn.Linear(width, group * channels * self.outputs)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor, noise_level: Tensor, condition: Condition) -> Tensor:
        """x (B, T, C), noise_level (B,) → (B, T, output_channels)."""
        vector = self.embed_noise_level(noise_level)  # (B, width)
        if condition.vector is not None:
            vector = vector + self.embed_condition(condition.vector)
        context, context_mask = (condition.tokens, condition.mask) if self.cross_attention else (None, None)
        grouped = x.unflatten(1, (-1, self.group)).flatten(2)  # (B, T / group, group · C)
        tokens = self.embed(grouped) + self.positions  # (B, T / group, width)
        if self.place_condition is not None and condition.vector is not None:
            tokens = tokens + self.place_condition(condition.vector)  # (B, T / group, width)
        tokens = self.transformer(tokens, vector, context, context_mask)  # (B, T / group, width)
        shift, scale = self.final_modulation(vector)  # (B, 1, width) each
        made = self.project(self.final_norm(tokens) * (1 + scale) + shift)  # (B, T / group, group · output_channels)
        (gain,) = self.gain(vector)  # (B, 1, group · output_channels)
        made = made + gain * x.repeat(1, 1, self.outputs).unflatten(1, (-1, self.group)).flatten(2)
        return made.unflatten(2, (self.group, -1)).flatten(1, 2)  # (B, T, output_channels)
