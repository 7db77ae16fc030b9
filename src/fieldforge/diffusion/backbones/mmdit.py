"""MM-DiT: a transformer with joint attention of latent and condition tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.aligned_input import beside
from fieldforge.diffusion.backbones.readout import Readout
from fieldforge.nn.embeddings import NoiseLevelEmbedding
from fieldforge.nn.grouping import Patches
from fieldforge.nn.joint_transformer import JointTransformer
from fieldforge.nn.places import first_places
from fieldforge.ranges import Count, Whole


class MMDiT(nn.Module):
    """Stable Diffusion 3's denoiser (Esser et al. 2024, arXiv 2403.03206, section 4, figure 2).

    Condition tokens are a stream beside the latent tokens, with weights of their own. In every block each stream
    attends to both, and noise level and condition vector modulate both. No token attends to condition tokens that the
    mask hides. `grid`, `group` and `output_channels`: see the package and `Readout`.

    A missing vector counts as zeros, missing tokens as one masked token (the latent stream is then a `DiT`): every
    weight takes part in every step, as training in several processes requires.
    """

    def __init__(
        self,
        tokens: Count,
        channels: Count,
        width: Count,
        layers: Count,
        heads: Count,
        condition_width: Count,
        qk_norm: bool = True,
        checkpointing: bool = False,
        output_channels: int | None = None,
        group: Count = 1,
        grid: Sequence[int] | None = None,
        aligned_channels: Whole = 0,
    ):
        super().__init__()
        self.aligned_channels = aligned_channels
        self.condition_width = condition_width
        self.patches = patches = Patches(tokens, group, "backbone.group", grid)
        self.embed = nn.Linear(patches.size * (channels + aligned_channels), width)
        self.positions = nn.Parameter(first_places(patches.tokens, width, patches.grid, deviation=0.02))
        self.embed_noise_level = NoiseLevelEmbedding(width)
        self.embed_vector = nn.Sequential(nn.Linear(condition_width, width), nn.SiLU(), nn.Linear(width, width))
        self.embed_tokens = nn.Linear(condition_width, width)
        self.transformer = JointTransformer(width, heads, layers, width, qk_norm, checkpointing)
        self.readout = Readout(patches, channels, output_channels or channels, width)

    def forward(self, x: Tensor, noise_level: Tensor, condition: Condition) -> Tensor:
        """x (B, T, C), noise_level (B,) → (B, T, output_channels)."""
        pooled, context, mask = self._parts(x, condition)  # (B, D), (B, L, D), (B, L)
        vector = self.embed_noise_level(noise_level) + self.embed_vector(pooled)  # (B, width)
        joined = self.patches.join(beside(x, condition, self.aligned_channels))  # (B, T / group, group · (C + A))
        tokens = self.embed(joined) + self.positions  # (B, T / group, width)
        mask = torch.cat([mask.new_ones(tokens.shape[:2]), mask], dim=1)  # (B, T / group + L)
        tokens = self.transformer(tokens, self.embed_tokens(context), vector, mask)  # (B, T / group, width)
        return self.readout(tokens, x, vector)  # (B, T, output_channels)

    def _parts(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor, Tensor]:
        """Vector (B, D), tokens (B, L, D) and mask (B, L) of the condition, or their placeholders."""
        zeros = x.new_zeros(len(x), 1, self.condition_width)
        vector = zeros[:, 0] if condition.vector is None else condition.vector
        if condition.tokens is None or condition.mask is None:
            return vector, zeros, zeros.new_zeros(len(x), 1, dtype=torch.bool)
        return vector, condition.tokens, condition.mask
