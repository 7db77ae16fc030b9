"""The transformer with adaptive norms."""

import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition
from fieldforge.errors import UserError
from fieldforge.nn.embeddings import NoiseLevelEmbedding
from fieldforge.nn.transformer import Modulation, Transformer


class DiT(nn.Module):
    """Transformer on latent tokens, modulated by noise level and condition vector (Peebles & Xie 2022, "DiT").

    Tokens get learned positions; with `cross_attention` every block also looks at the condition's tokens. A part that
    the condition lacks (no vector, no tokens) is passed over. The output starts at zero. `output_channels` differs from
    `channels` for a learned variance. `group` neighbouring latent tokens are one token inside, as patches are there.
    """

    def __init__(
        self,
        tokens: int,
        channels: int,
        width: int,
        layers: int,
        heads: int,
        condition_width: int,
        cross_attention: bool = False,
        qk_norm: bool = True,
        checkpointing: bool = False,
        output_channels: int | None = None,
        group: int = 1,
    ):
        super().__init__()
        if tokens % group:
            raise UserError(f"backbone.group={group} does not divide the latent's {tokens} tokens: choose a divisor")
        self.group = group
        self.cross_attention = cross_attention
        self.embed = nn.Linear(group * channels, width)
        self.positions = nn.Parameter(torch.randn(tokens // group, width) * 0.02)
        self.embed_noise_level = NoiseLevelEmbedding(width)
        self.embed_condition = nn.Linear(condition_width, width)
        context_width = condition_width if cross_attention else None
        self.transformer = Transformer(
            width, heads, layers, width, context_width, qk_norm=qk_norm, checkpointing=checkpointing
        )
        self.final_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.final_modulation = Modulation(width, width, count=2)
        self.project = nn.Linear(width, group * (output_channels or channels))
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
        tokens = self.transformer(tokens, vector, context, context_mask)  # (B, T / group, width)
        shift, scale = self.final_modulation(vector)  # (B, 1, width) each
        made = self.project(self.final_norm(tokens) * (1 + scale) + shift)  # (B, T / group, group · output_channels)
        return made.unflatten(2, (self.group, -1)).flatten(1, 2)  # (B, T, output_channels)
