"""A DiT of pictures on every frame of a clip, with layers over time between its blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.dit import DiT
from fieldforge.errors import UserError
from fieldforge.nn.attention import Attention
from fieldforge.nn.blocks import Block, Stack
from fieldforge.nn.places import grid_places
from fieldforge.nn.transformer import Modulation, TokenNorm
from fieldforge.nn.wide_linear import WideLinear
from fieldforge.ranges import Count, Whole


class TimeBlock(Block):
    """Each place over the frames: attention, then a convolution over three frames; (B · V, N, width) → the same.

    A learned blend weighs what each adds, and starts at 0: a model of clips starts as that of pictures. Stable Video
    Diffusion (Blattmann et al. 2023, arXiv 2311.15127), appendix D.1, after Align your Latents (arXiv 2304.08818),
    section 3.1, where a blend mixes a layer's input with its output likewise.
    """

    def __init__(self, width: int, heads: int, vector_width: int, qk_norm: bool):
        super().__init__()
        self.norm = TokenNorm(width, elementwise_affine=False)
        self.modulation = Modulation(vector_width, width, count=2)
        self.embed_frame = nn.Linear(width, width)
        self.attention = Attention(width, heads, qk_norm=qk_norm)
        self.norm_convolution = TokenNorm(width)
        self.convolution = WideLinear(3 * width, width)
        self.blends = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, vector: Tensor, places: Tensor) -> Tensor:
        """x (B · V, N, width), vector (B · V, D), places of the frames in time (V, width)."""
        shift, scale = self.modulation(vector)  # (B · V, 1, width) each
        frames = len(places)
        queries = over_time(self.norm(x) * (1 + scale) + shift, frames) + self.embed_frame(places.to(x))
        x = x + self.blends[0] * over_space(self.attention(queries), x.shape[1])
        here = over_time(F.silu(self.norm_convolution(x)), frames)  # (B · N, V, width)
        padded = torch.cat([here[:, :1], here, here[:, -1:]], 1)
        around = torch.cat([padded[:, :-2], here, padded[:, 2:]], -1)  # (B · N, V, 3 · width)
        return x + self.blends[1] * over_space(self.convolution(around), x.shape[1])


class TimeLayers(Stack):
    """`layers` blocks over time."""

    def __init__(self, width: int, heads: int, layers: int, qk_norm: bool, checkpointing: bool):
        super().__init__(checkpointing)
        self.blocks = nn.ModuleList(TimeBlock(width, heads, width, qk_norm) for _ in range(layers))


class ClipDiT(DiT):
    """A `DiT` whose tokens are those of one frame, on all V frames; a `TimeBlock` after each of its blocks.

    Tokens of a latent are V frames of n. Each frame reads the condition's vector and its own (`Condition.frames`), and
    beside its noisy latent the condition's numbers at the n places of a frame, or at all T tokens. Any number of frames
    goes through: `grid` names the usual.

    Args: see `DiT`.
        temporal: False: without layers over time, a model of pictures on every frame by itself.
    """

    def __init__(
        self,
        tokens: Count,
        channels: Count,
        width: Count,
        layers: Whole,
        heads: Count,
        condition_width: Count,
        temporal: bool = True,
        cross_attention: bool = False,
        qk_norm: bool = True,
        checkpointing: bool = False,
        output_channels: int | None = None,
        group: Count = 1,
        condition_rank: Whole = 0,
        detail: Whole = 0,
        grid: Sequence[int] | None = None,
        aligned_channels: Whole = 0,
    ):
        if grid is None or len(grid) != 3:
            raise UserError(
                "backbone=clip reads latents of clips, on a grid of frames, rows and columns: choose another backbone, "
                "or an autoencoder of clips (autoencoder=clip)"
            )
        places = math.prod(grid[1:])
        shared = (cross_attention, qk_norm, checkpointing, output_channels, group, condition_rank, detail)
        super().__init__(places, channels, width, layers, heads, condition_width, *shared, grid[1:], aligned_channels)
        self.places, self.channels = places, channels
        self.over_time = TimeLayers(width, heads, layers if temporal else 0, qk_norm, checkpointing)
        self.usual_places: Tensor
        self.register_buffer("usual_places", grid_places(grid[:1], width), persistent=False)

    def forward(self, x: Tensor, noise_level: Tensor, condition: Condition) -> Tensor:
        """x (B, V · n, C), noise_level (B,) → (B, V · n, output_channels)."""
        frames = x.shape[1] // self.places
        pictures = x.unflatten(1, (frames, self.places)).flatten(0, 1)  # (B · V, n, C)
        levels = noise_level.repeat_interleave(frames)  # (B · V,)
        through = partial(self._through, frames=frames)
        output = self.output(pictures, levels, of_frames(condition, frames, self.places), through)
        return output.unflatten(0, (-1, frames)).flatten(1, 2)

    def _through(
        self, tokens: Tensor, vector: Tensor, context: Tensor | None, mask: Tensor | None, frames: int
    ) -> Tensor:
        """tokens (B · V, N, width) through the blocks, over space and over time by turns."""
        usual = frames == len(self.usual_places)
        places = self.usual_places if usual else grid_places((frames,), tokens.shape[-1])  # (V, width)
        for number, block in enumerate(self.transformer.blocks):
            tokens = self.transformer.call(block, tokens, vector, context, mask)
            if len(self.over_time.blocks):
                tokens = self.over_time.call(self.over_time.blocks[number], tokens, vector, places)
        return tokens

    def initial_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights to start from, where those of a `DiT` of pictures, or of this model without time, are given.

        Layers over time keep their present weights. Channels that this model reads beside the latent, and that one did
        not, get zeros.
        """
        own = self.state_dict()
        rest = {name: value for name, value in own.items() if name.startswith("over_time.") and name not in weights}
        known = weights["embed.weight"].unflatten(1, (self.patches.size, -1))  # (width, group, C + A)
        lacking = self.channels + self.aligned_channels - known.shape[-1]
        embed = F.pad(known, (0, max(0, lacking))).flatten(1)
        return {**weights, **rest, "embed.weight": embed}


def over_time(x: Tensor, frames: int) -> Tensor:
    """(B · V, N, width) → (B · N, V, width)."""
    return x.unflatten(0, (-1, frames)).transpose(1, 2).flatten(0, 1)


def over_space(x: Tensor, places: int) -> Tensor:
    """(B · N, V, width) → (B · V, N, width), N = `places`."""
    return x.unflatten(0, (-1, places)).transpose(1, 2).flatten(0, 1)


def of_frames(condition: Condition, frames: int, places: int) -> Condition:
    """The condition (B rows) of each frame (B · V rows): its own vector added to that of all, its own numbers."""
    every = replace(condition, frames=None, aligned=None).repeat(frames)
    vector, aligned = every.vector, condition.aligned
    if condition.frames is not None:
        own = condition.at_frames(frames).frames
        assert own is not None
        vector = own.flatten(0, 1) if vector is None else vector + own.flatten(0, 1)
    if aligned is not None:
        whole = aligned.shape[1] == frames * places
        aligned = (
            aligned.unflatten(1, (frames, places)).flatten(0, 1) if whole else aligned.repeat_interleave(frames, 0)
        )
    return replace(every, vector=vector, aligned=aligned)
