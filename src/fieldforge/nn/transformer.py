"""Pre-norm transformer, optionally modulated by a vector and attending to a context."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.nn.attention import Attention
from fieldforge.nn.blocks import Block, Stack
from fieldforge.nn.wide_linear import WideLinear


class FeedForward(nn.Sequential):
    """Linear, GELU, Linear: (..., width) → (..., width)."""

    def __init__(self, width: int, expansion: float = 4.0):
        hidden = int(width * expansion)
        super().__init__(WideLinear(width, hidden), nn.GELU(), WideLinear(hidden, width))


class Modulation(nn.Module):
    """adaLN-zero (Peebles & Xie 2022, "DiT", fig. 3): a vector (B, D) → `count` shifts, scales or gates (B, 1, width).

    Initialised to zero, so that a modulated block starts as the identity.
    """

    def __init__(self, vector_width: int, width: int, count: int):
        super().__init__()
        self.count = count
        self.project = nn.Linear(vector_width, count * width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, vector: Tensor) -> tuple[Tensor, ...]:
        return self.project(nn.functional.silu(vector))[:, None].chunk(self.count, dim=-1)


class TokenNorm(nn.LayerNorm):
    """LayerNorm whose weights may have a lower precision than its input: FSDP gathers blocks in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is None:
            return super().forward(x)
        dtype = torch.promote_types(x.dtype, self.weight.dtype)
        return F.layer_norm(x, self.normalized_shape, self.weight.to(dtype), self.bias.to(dtype), self.eps)


class TransformerBlock(Block):
    """Pre-norm block with skip connections: self-attention, cross-attention (with `context_width`), feed-forward.

    With `vector_width`, a vector (B, D) shifts, scales and gates the norms of self-attention and feed-forward:
    adaLN-zero. The cross-attention's output then starts at zero too, so that the block starts as the identity.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        vector_width: int | None = None,
        context_width: int | None = None,
        qk_norm: bool = False,
        expansion: float = 4.0,
    ):
        super().__init__()
        modulated = vector_width is not None
        self.norm_attention = TokenNorm(width, elementwise_affine=not modulated)
        self.attention = Attention(width, heads, qk_norm=qk_norm)
        self.norm_feed = TokenNorm(width, elementwise_affine=not modulated)
        self.feed = FeedForward(width, expansion)
        self.modulation = Modulation(vector_width, width, count=6) if vector_width is not None else None
        self.cross: Attention | None = None
        if context_width is not None:
            self.norm_cross = TokenNorm(width)
            self.cross = Attention(width, heads, context_width=context_width, qk_norm=qk_norm)
            if modulated:
                nn.init.zeros_(self.cross.to_out.weight)
                nn.init.zeros_(self.cross.to_out.bias)

    def forward(
        self,
        x: Tensor,
        vector: Tensor | None = None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """x (B, N, width), vector (B, D), context (B, M, context_width) → (B, N, width).

        `context_mask` (B, M) and `mask` (B, N) are True at the tokens that may be seen.
        """
        if self.modulation is None:
            assert vector is None, "a block without vector_width has no use for a vector"
            x = x + self.attention(self.norm_attention(x), mask=mask)
        else:
            shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = self.modulation(vector)  # (B, 1, width) each
            x = x + gate_a * self.attention(self.norm_attention(x) * (1 + scale_a) + shift_a, mask=mask)
        if self.cross is not None and context is not None:
            x = x + self.cross(self.norm_cross(x), context, context_mask)
        if self.modulation is None:
            return x + self.feed(self.norm_feed(x))
        return x + gate_f * self.feed(self.norm_feed(x) * (1 + scale_f) + shift_f)


class Transformer(Stack):
    """A stack of `layers` equal blocks, see `TransformerBlock`."""

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        vector_width: int | None = None,
        context_width: int | None = None,
        qk_norm: bool = False,
        expansion: float = 4.0,
        checkpointing: bool = False,
    ):
        super().__init__(checkpointing)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, vector_width, context_width, qk_norm, expansion) for _ in range(layers)
        )

    def forward(
        self,
        x: Tensor,
        vector: Tensor | None = None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """x (B, N, width) → (B, N, width); the other arguments go to every block. No final norm."""
        for block in self.blocks:
            x = self.call(block, x, vector, context, context_mask, mask)
        return x
