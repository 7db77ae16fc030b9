"""The blocks of MM-DiT: two kinds of tokens have separate weights and share one attention.

Esser et al. 2024, "Scaling Rectified Flow Transformers" (Stable Diffusion 3, arXiv 2403.03206), section 4, figure 2.
"""

import torch
from torch import Tensor, nn

from fieldforge.nn import attention
from fieldforge.nn.attention import HeadNorm, merge_heads, split_heads
from fieldforge.nn.blocks import Block, Stack
from fieldforge.nn.transformer import FeedForward, Modulation, TokenNorm
from fieldforge.nn.wide_linear import WideLinear


class Stream(nn.Module):
    """The weights of one kind of tokens in a block: modulated norms, projections, feed-forward.

    A `last` stream has keys and values alone: other tokens attend to it, and nothing updates it.
    """

    def __init__(
        self, width: int, heads: int, vector_width: int, qk_norm: bool, expansion: float = 4.0, last: bool = False
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads, self.last = heads, last
        self.modulation = Modulation(vector_width, width, count=2 if last else 6)
        self.norm_attention = TokenNorm(width, elementwise_affine=False)
        self.norm_k = HeadNorm(width // heads) if qk_norm else nn.Identity()
        if last:
            self.to_kv = WideLinear(width, 2 * width)
            return
        self.to_qkv = WideLinear(width, 3 * width)
        self.norm_q = HeadNorm(width // heads) if qk_norm else nn.Identity()
        self.to_out = WideLinear(width, width)
        self.norm_feed = TokenNorm(width, elementwise_affine=False)
        self.feed = FeedForward(width, expansion)

    def project(self, x: Tensor, shift: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """x (B, N, width), shift and scale (B, 1, width) → queries (if not `last`), keys, values (B, heads, N, c)."""
        x = self.norm_attention(x) * (1 + scale) + shift  # (B, N, width)
        projected = self.to_kv(x).chunk(2, dim=-1) if self.last else self.to_qkv(x).chunk(3, dim=-1)
        *q, k, v = (split_heads(tokens, self.heads) for tokens in projected)  # (B, heads, N, c) each
        return (*(self.norm_q(tokens) for tokens in q), self.norm_k(k), v)

    def update(self, x: Tensor, attended: Tensor, gates: tuple[Tensor, ...]) -> Tensor:
        """x (B, N, width) after what it attended to (B, heads, N, c) and its feed-forward: (B, N, width)."""
        gate_a, shift_f, scale_f, gate_f = gates  # (B, 1, width) each
        x = x + gate_a * self.to_out(merge_heads(attended))
        return x + gate_f * self.feed(self.norm_feed(x) * (1 + scale_f) + shift_f)


class JointBlock(Block):
    """Two streams attend to the tokens of both (figure 2 b); both start as the identity (adaLN-zero).

    `last`: the context serves as keys and values and is returned unchanged.
    """

    def __init__(self, width: int, heads: int, vector_width: int, qk_norm: bool = True, last: bool = False):
        super().__init__()
        self.latent = Stream(width, heads, vector_width, qk_norm)
        self.context = Stream(width, heads, vector_width, qk_norm, last=last)

    def forward(self, x: Tensor, context: Tensor, vector: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (B, N, width), context (B, L, width), vector (B, D) → both, of the same shapes.

        `mask` (B, N + L) is True at the tokens that may be seen: those of x, then those of the context.
        """
        shift_x, scale_x, *gates_x = self.latent.modulation(vector)  # (B, 1, width) each
        shift_c, scale_c, *gates_c = self.context.modulation(vector)  # (B, 1, width) each
        q, k, v = self.latent.project(x, shift_x, scale_x)  # (B, heads, N, c) each
        *q_c, k_c, v_c = self.context.project(context, shift_c, scale_c)  # (B, heads, L, c) each
        q, k, v = (torch.cat(parts, dim=2) for parts in ((q, *q_c), (k, k_c), (v, v_c)))
        bias = None if mask is None else mask[:, None, None]  # (B, 1, 1, N + L)
        attended = attention.attend(q, k, v, bias)  # (B, heads, N + L, c); of a last context: (B, heads, N, c)
        count = x.shape[1]
        x = self.latent.update(x, attended[:, :, :count], tuple(gates_x))
        if not self.context.last:
            context = self.context.update(context, attended[:, :, count:], tuple(gates_c))
        return x, context


class JointTransformer(Stack):
    """`layers` joint blocks; in the last block the context has keys and values alone, as no later block reads it."""

    def __init__(
        self, width: int, heads: int, layers: int, vector_width: int, qk_norm: bool = True, checkpointing: bool = False
    ):
        super().__init__(checkpointing)
        self.blocks = nn.ModuleList(
            JointBlock(width, heads, vector_width, qk_norm, last=layer == layers - 1) for layer in range(layers)
        )

    def forward(self, x: Tensor, context: Tensor, vector: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, N, width), context (B, L, width), vector (B, D), mask (B, N + L) → (B, N, width). No final norm."""
        for block in self.blocks:
            x, context = self.call(block, x, context, vector, mask)
        return x
