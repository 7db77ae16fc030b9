"""Shap-E's encoder: points and views → tokens before the bottleneck."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fieldforge.autoencoder.encoders import RandomEncoder
from fieldforge.autoencoder.point_conv import PointConv
from fieldforge.autoencoder.view_patches import ViewPatches
from fieldforge.errors import UserError
from fieldforge.fields.z_up import to_z_up
from fieldforge.nn.attention import Attention
from fieldforge.nn.blocks import Block
from fieldforge.nn.embeddings import positional_encoding, positional_encoding_width
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.nn.linear import initialise
from fieldforge.nn.transformer import FeedForward, TokenNorm, Transformer
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import Count, Whole

INITIAL_SCALE = 0.25
VIEWS = ("view_rgba", "view_depth", "view_cameras", "fov_y")


class ReadBlock(Block):
    """Tokens read a source by cross-attention, pre-norm, with a feed-forward behind."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm_read, self.norm_source, self.norm_feed = (TokenNorm(width) for _ in range(3))
        self.read = Attention(width, heads, context_width=width)
        self.feed = FeedForward(width)

    def forward(self, x: Tensor, source: Tensor, counts: Tensor | None = None) -> Tensor:
        """x (B, N, width), source (B, M, width), counts (B, M) as `Attention` takes them → (B, N, width)."""
        x = x + self.read(self.norm_read(x), self.norm_source(source), counts=counts)
        return x + self.feed(self.norm_feed(x))


class ShapEEncoder(RandomEncoder):
    """Tokens of neighbourhoods and learned output tokens read all points, then all views, then look at each other.

    Jun & Nichol 2023 (arXiv 2305.02463), section 4.1, with the structure of the released weights. Networks see Shap-E's
    frame (`to_z_up`); of `input` they see positions and colours, not normals.

    Args:
        tokens: T, of the latents.
        data_tokens: S, of neighbourhoods: the first S points are their centres.
        width: of all tokens.
        layers: of self-attention.
        channels: of the latents.
        views: whether it reads views besides the points.
        patch: pixels along a side of a view's patch.
        degrees: of all encodings.
        neighbours, stride: of `PointConv`.
        checkpointing: activations of the blocks are computed again in the backward pass.
    """

    def __init__(
        self,
        tokens: Count = 1024,
        data_tokens: Count = 1024,
        width: Count = 1024,
        heads: Count = 8,
        layers: Whole = 11,
        channels: Count = 1024,
        views: bool = True,
        patch: Count = 8,
        degrees: Whole = 15,
        neighbours: Count = 64,
        stride: Count = 4,
        checkpointing: bool = False,
    ):
        super().__init__()
        self.reads = ("input", *VIEWS) if views else ("input",)
        self.degrees, self.data_tokens = degrees, data_tokens
        self.latent_shape = LatentShape(tokens, channels)
        self.embed = nn.Linear(positional_encoding_width(degrees, 6), width)
        self.point_conv = PointConv(width, width, data_tokens, neighbours=neighbours, stride=stride)
        self.view_patches = ViewPatches(width, patch, degrees) if views else None
        self.output_tokens = nn.Parameter(torch.randn(tokens, width))
        self.norm_tokens, self.norm_output = TokenNorm(width), TokenNorm(width)
        self.read_points = ReadBlock(width, heads)
        self.read_views = ReadBlock(width, heads) if views else None
        self.transformer = Transformer(width, heads, layers, checkpointing=checkpointing)
        self.to_latent = nn.Linear(width, channels)
        for block in filter(None, (self.read_points, self.read_views, self.transformer)):
            initialise(block.modules(), INITIAL_SCALE * width**-0.5)

    def forward(self, surface: Tensor, *views: Tensor, randomness: Randomness | None = None) -> Tensor:
        """surface (B, N, 9), views as `ViewPatches` reads them → (B, T, C). UserError where N < S.

        In training the orders of neighbours are drawn from `randomness`, without which it is a ValueError.
        """
        if surface.shape[1] < self.data_tokens:
            raise UserError(
                f"autoencoder.encoder: {surface.shape[1]} points for {self.data_tokens} tokens of neighbourhoods: "
                f"raise domain.points and data.transforms.surface.points, or lower autoencoder.encoder.data_tokens"
            )
        if self.training and randomness is None:
            raise ValueError("ShapEEncoder draws orders of neighbours in training, and needs randomness for it")
        places = to_z_up(surface[..., :3])
        seen = torch.cat([places, surface[..., 6:]], -1)  # (B, N, 6)
        points = self.embed(positional_encoding(seen, self.degrees, slowest=1.0))  # (B, N, width)
        near = self.point_conv(places, points, randomness if self.training else None)  # (B, S, width)
        tokens = self.norm_tokens(torch.cat([near, self.output_tokens.expand(len(near), -1, -1)], 1))
        tokens = self.read_points(tokens, points)
        if self.view_patches is not None and self.read_views is not None:
            tokens = self.read_views(tokens, *self.view_patches(*views))
        tokens = self.transformer(tokens)[:, self.data_tokens :]  # (B, T, width)
        return self.to_latent(self.norm_output(tokens))
