"""A field whose generated parameter is a set of tokens, which points read by attention."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fieldforge.fields.base import Field, Params, Values
from fieldforge.fields.density import LaplaceDensity
from fieldforge.fields.shape_heads import SHAPE_HEADS
from fieldforge.nn.attention import Attention
from fieldforge.nn.embeddings import positional_encoding, positional_encoding_width
from fieldforge.nn.transformer import FeedForward
from fieldforge.ranges import Count, Positive, Whole


class AttentionField(Field):
    """Encoded points read the tokens by one cross-attention (3DShape2VecSet, Zhang et al. 2023, arXiv 2301.11445).

    A feed-forward part and a linear head follow. Signed distance and colour in place of the paper's occupancy. The
    order of tokens means nothing, and their number may be another than `tokens`.

    Args:
        tokens: T, as many as the autoencoder makes.
        width: of a token and of a point.
        degrees: of the position encoding.
        points_at_once: of the whole batch, which bounds memory; of a query with more, activations are computed again in
            the backward pass.
        initial_distance: signed distance everywhere before anything is learned, about.
    """

    dimensions = 3
    heads = SHAPE_HEADS
    ragged = frozenset({"tokens"})

    def __init__(
        self,
        tokens: Count = 256,
        width: Count = 64,
        attention_heads: Count = 2,
        degrees: Whole = 6,
        points_at_once: Count = 2**17,
        density: LaplaceDensity | None = None,
        initial_distance: Positive = 0.05,
    ):
        super().__init__()
        self.tokens, self.width, self.degrees, self.points_at_once = tokens, width, degrees, points_at_once
        self.embed = nn.Linear(positional_encoding_width(degrees), width)
        self.norm_points, self.norm_tokens = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read = Attention(width, attention_heads, context_width=width)
        self.feed = nn.Sequential(nn.LayerNorm(width), FeedForward(width))
        last = nn.Linear(width, 4)
        nn.init.constant_(last.bias[:1], initial_distance)
        self.head = nn.Sequential(nn.LayerNorm(width), last)
        self.density = density or LaplaceDensity()

    @property
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        return {"tokens": (self.tokens, self.width)}

    def query(self, points: Tensor, params: Params) -> Values:
        self.check(params)
        tokens = params["tokens"]  # (B, T, width)
        parts = points.split(max(1, self.points_at_once // len(points)), dim=1)
        again = len(parts) > 1 and torch.is_grad_enabled()
        numbers = torch.cat(
            [
                checkpoint(self.numbers, part, tokens, use_reentrant=False) if again else self.numbers(part, tokens)
                for part in parts
            ],
            dim=1,
        )  # (B, N, 4)
        sdf = numbers[..., 0]  # (B, N)
        return {"sdf": sdf, "density": self.density(sdf), "rgb": numbers[..., 1:].sigmoid()}

    def numbers(self, points: Tensor, tokens: Tensor) -> Tensor:
        """points (B, N, 3), tokens (B, T, width) → signed distance and colour before its sigmoid (B, N, 4)."""
        x = self.embed(positional_encoding(points, self.degrees))  # (B, N, width)
        x = x + self.read(self.norm_points(x), self.norm_tokens(tokens))
        return self.head(x + self.feed(x)).float()
