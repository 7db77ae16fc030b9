"""A second autoencoder over the latents of a first: sparse latents ⇄ few tokens.

Letters: T, C tokens and channels of the compact latents; U cells of the sparse ones, A of them active; D channels of a
    sparse latent without its activity.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.autoencoder.autoencoder import Autoencoder, Batch
from fieldforge.autoencoder.bottleneck import KLBottleneck, Terms
from fieldforge.autoencoder.compact_decoder import COLOR_SCALE, CompactDecoder
from fieldforge.autoencoder.on_base import OnBase
from fieldforge.autoencoder.sparse_encoder import START, stretched
from fieldforge.fields.base import Field, Params
from fieldforge.fields.cell_field import corner_grid
from fieldforge.fields.quadric_field import COEFFICIENTS, monomials
from fieldforge.nn.cells import ActiveCells
from fieldforge.nn.grouping import Patches
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.nn.push_pull import push_pull_tokens
from fieldforge.nn.transformer import Transformer
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import Count, Whole

HUBER = 0.5  # errors of channels beyond count linearly
REACH = 0.5  # of quadrics: half sides of a cell at which distances are clamped
COLOR_DEVIATION = 2.5  # of the three colours in compact latents: tokens have to agree on them
COLORS = slice(1 + COEFFICIENTS, 1 + START)  # of the channels of sparse latents


class CompactEncoder(nn.Module):
    """Boxes of `group` cells of sparse latents, as tokens that see each other.

    Their last three numbers are the mean colour of the box's active cells, or of the boxes around, over `COLOR_SCALE`:
    a shortcut, as colour drowns in a fresh network (`pass_through`).

    Args:
        shape: of the sparse latents, a grid.
        group: cells of a box.
    """

    def __init__(self, shape: LatentShape, group: Count = 64, width: Count = 320, heads: Count = 5, layers: Whole = 3):
        super().__init__()
        self.deviations: tuple[float, ...] | None = None
        self.patches = Patches(shape.tokens, group, "autoencoder.encoder.group", shape.grid)
        self.tokens, self.grid = self.patches.tokens, self.patches.grid
        self.to_token = nn.Linear(self.patches.size * shape.channels, width)
        self.positions = nn.Parameter(torch.randn(self.tokens, width) * 0.02)
        self.transformer = Transformer(width, heads, layers)
        self.to_width = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width - 3))

    def forward(self, latents: Tensor, active: Tensor) -> Tensor:
        """latents (B, U, 1 + D) of unit scale, active (B, U) → (B, T, width), before the bottleneck."""
        tokens = self.transformer(self.to_token(self.patches.join(latents)) + self.positions)  # (B, T, width)
        weights = self.patches.join(active[..., None].to(latents))  # (B, T, group)
        colors = self.patches.join(latents[..., COLORS]).unflatten(2, (self.patches.size, 3))  # (B, T, group, 3)
        count = weights.sum(2, keepdim=True)  # (B, T, 1)
        mean = (weights[..., None] * colors).sum(2) / count.clamp(min=1)  # (B, T, 3)
        assert self.grid is not None, "the decoder has refused latents that are no grid"
        mean = push_pull_tokens(mean, (count > 0).to(mean), self.grid)
        return torch.cat([self.to_width(tokens), mean / COLOR_SCALE], -1)


class CompactAutoencoder(OnBase):
    """Few tokens for all sparse latents of a shape, by a network that knows what shapes are like.

    Sparse latents hold any shape, and a diffusion on them has to learn which cells belong together: it leaves holes.
    The decoder of compact latents learns that instead, from reconstruction, and the diffusion has some thirty times
    fewer numbers to make. The first autoencoder, `base`, stays as it is. Two levels as in COD-VAE (Cho et al. 2025).

    Args:
        base: with a `SparseEncoder`; its field is this one's.
        encoder: shape of the base's latents → network.
        bottleneck: of the compact latents.
        decoder: shape of the base's latents, channels of the compact ones → network.
    """

    def __init__(
        self,
        base: Autoencoder,
        encoder: Callable[..., CompactEncoder],
        bottleneck: KLBottleneck,
        decoder: Callable[..., CompactDecoder],
    ):
        nn.Module.__init__(self)
        if not isinstance(bottleneck, KLBottleneck):
            raise ValueError("CompactAutoencoder: the bottleneck must be a KLBottleneck, its first channels are colour")
        self.encoder: CompactEncoder  # type: ignore[assignment]
        self.decoder: CompactDecoder
        with torch.no_grad():  # the first three latents start as the colour
            bottleneck.moments.weight[:3] = 0
            bottleneck.moments.weight[:3, -3:] = torch.eye(3)
        self.base = base.requires_grad_(False)
        self.encoder, self.bottleneck = encoder(shape=base.latent_shape), bottleneck
        channels = bottleneck.moments.out_features // 2
        self.decoder = decoder(shape=base.latent_shape, channels=channels)
        self.latent_shape = LatentShape(self.encoder.tokens, channels, self.encoder.grid)
        self.encoder.deviations = (COLOR_DEVIATION,) * 3 + (1.0,) * (channels - 3)
        self.register_statistics(channels)
        self.corners: Tensor
        self.register_buffer("corners", monomials(corner_grid(2)), persistent=False)  # (27, 10)

    @property
    def field(self) -> Field:  # type: ignore[override]
        return self.base.field

    def hidden(self, batch: Batch, randomness: Randomness | None = None) -> Tensor:
        return self.encoder(*self._base_latents(batch))

    def field_params(self, latents: Tensor) -> Params:
        return self.base.field_params(self.base.bottleneck.restore(self._sparse(latents)))

    @torch.no_grad()
    def _base_latents(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sparse latents of unit scale (B, U, 1 + D), and which cells are active (B, U)."""
        sparse = self.base.encode(batch)
        return sparse, self.base.own_units(sparse)[..., 0] > 0

    def _sparse(self, latents: Tensor) -> Tensor:
        """Compact latents (B, T, C) → sparse ones (B, U, 1 + D), both in the own units of their bottlenecks."""
        features, activity = self.decoder.cells(latents)  # (B, U, F), (B, U)
        active = ActiveCells.of(activity > 0, self.decoder.side)
        channels = self._own_channels(self.decoder.channels_of(features, active).float())  # (A, D)
        rows = F.pad(channels, (1, 0), value=1)
        empty = F.pad(channels.new_full((activity.numel(), 1), -1), (0, channels.shape[1]))
        return empty.index_copy(0, active.flat, rows).view(*activity.shape, -1)

    def _own_channels(self, channels: Tensor) -> Tensor:
        """Channels (A, D) of sparse latents of unit scale → in the base's own units."""
        return channels * self.base.latent_std[1:] + self.base.latent_mean[1:]

    def compare_latents(self, batch: Batch, randomness: Randomness) -> Terms:
        """What a reconstruction of the base's latents lacks, each term () a mean.

        activity: cross-entropy of which cells are active. channels: Huber's loss of the channels of the active ones, of
        unit scale. surface: L1 of their quadrics at 27 points of a cell, in half sides of it, clamped at ±`REACH`.
        Besides the bottleneck's own.
        """
        sparse, truth = self._base_latents(batch)
        latents, terms = self.bottleneck(self.encoder(sparse, truth), randomness)
        features, activity = self.decoder.cells(latents)
        active = ActiveCells.of(truth, self.decoder.side)
        channels = self.decoder.channels_of(features, active).float()  # (A, D)
        true_channels = sparse.flatten(0, 1).index_select(0, active.flat)[:, 1:]
        counts = truth.sum(1).clamp(min=1)  # (B,)
        share = 1 / (counts * len(truth))[active.sample]  # (A,): each sample weighs as much, on whichever process it is
        with torch.autocast(sparse.device.type, enabled=False):
            huber = F.smooth_l1_loss(channels, true_channels, beta=HUBER, reduction="none").mean(-1)  # (A,)
            distance = (self._quadrics(channels) - self._quadrics(true_channels)).abs().mean(-1)
            return terms | {
                "activity": F.binary_cross_entropy_with_logits(activity.float(), truth.float()),
                "channels": (share * huber).sum(),
                "surface": (share * distance).sum(),
            }

    def _quadrics(self, channels: Tensor) -> Tensor:
        """Channels (A, D) of unit scale → signed distances (A, 27) at points of their cells, clamped at ±`REACH`."""
        own = self._own_channels(channels)
        return (stretched(own[:, :COEFFICIENTS]) @ self.corners.T).clamp(-REACH, REACH)
