"""In-context conditioning: a transformer that reads noise level and condition as tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.aligned_input import beside
from fieldforge.nn.embeddings import NoiseLevelEmbedding
from fieldforge.nn.places import first_places
from fieldforge.nn.transformer import Transformer
from fieldforge.ranges import Count, Whole


class InContext(nn.Module):
    """[noise level · condition vector · condition tokens · latent tokens] through plain blocks (Shap-E, section 4.2).

    No token attends to condition tokens that the mask hides, nor to the placeholder for missing tokens. The output
    starts at zero. `grid` and `output_channels`: see the package.
    """

    def __init__(
        self,
        tokens: Count,
        channels: Count,
        width: Count,
        layers: Whole,
        heads: Count,
        condition_width: Count,
        qk_norm: bool = False,
        checkpointing: bool = False,
        output_channels: int | None = None,
        grid: Sequence[int] | None = None,
        aligned_channels: Whole = 0,
    ):
        super().__init__()
        self.aligned_channels = aligned_channels
        self.tokens = tokens
        self.embed = nn.Linear(channels + aligned_channels, width)
        self.positions = nn.Parameter(first_places(tokens, width, grid, deviation=0.05))
        self.embed_noise_level = NoiseLevelEmbedding(width)
        self.embed_vector = nn.Linear(condition_width, width)
        self.embed_tokens = nn.Sequential(nn.LayerNorm(condition_width), nn.Linear(condition_width, width))
        self.first_norm = nn.LayerNorm(width)
        self.transformer = Transformer(width, heads, layers, qk_norm=qk_norm, checkpointing=checkpointing)
        self.final_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, output_channels or channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor, noise_level: Tensor, condition: Condition) -> Tensor:
        """x (B, T, C), noise_level (B,) → (B, T, output_channels)."""
        vector, tokens, visible = self._parts(x, condition)
        parts = [
            self.embed_noise_level(noise_level)[:, None],  # (B, 1, width)
            self.embed_vector(vector)[:, None],  # (B, 1, width)
            self.embed_tokens(tokens),  # (B, L, width)
            self.embed(beside(x, condition, self.aligned_channels)) + self.positions,  # (B, T, width)
        ]
        sequence = torch.cat([part.to(parts[-1].dtype) for part in parts], dim=1)  # (B, 2 + L + T, width)
        sequence = self.first_norm(sequence)
        mask = torch.cat([visible.new_ones(len(x), 2), visible, visible.new_ones(len(x), self.tokens)], dim=1)
        sequence = self.transformer(sequence, mask=mask)[:, -self.tokens :]  # (B, T, width)
        return self.project(self.final_norm(sequence))  # (B, T, output_channels)

    def _parts(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor, Tensor]:
        """Vector (B, D), tokens (B, L, D) and mask (B, L) of the condition.

        Zeros replace a missing vector, and one masked token replaces missing tokens: every weight takes part in every
        step, as training in several processes requires.
        """
        zeros = x.new_zeros(len(x), 1, self.embed_vector.in_features)
        vector = zeros[:, 0] if condition.vector is None else condition.vector
        if condition.tokens is None or condition.mask is None:
            return vector, zeros, zeros.new_zeros(len(x), 1, dtype=torch.bool)
        return vector, condition.tokens, condition.mask
