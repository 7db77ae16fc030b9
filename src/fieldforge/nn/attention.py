"""Multi-head self-attention and cross-attention."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.nn.wide_linear import WideLinear


class HeadNorm(nn.Module):
    """Root-mean-square norm over each head's channels, computed in the dtype of its input: (..., C) → (..., C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.gain.shape, self.gain.to(x.dtype))


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, eq. 1), fused by torch.

    `context_width` None: self-attention. Otherwise queries come from x (B, N, width) and keys and values from a
    context (B, M, context_width). `qk_norm` normalises queries and keys per head (Dehghani et al. 2023, "ViT-22B"),
    which keeps the logits bounded in long or low-precision training.
    """

    def __init__(self, width: int, heads: int, context_width: int | None = None, qk_norm: bool = False):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads = heads
        self.is_cross = context_width is not None
        if context_width is None:
            self.to_qkv = WideLinear(width, 3 * width)
        else:
            self.to_q = WideLinear(width, width)
            self.to_kv = WideLinear(context_width, 2 * width)
        self.norm_q = HeadNorm(width // heads) if qk_norm else nn.Identity()
        self.norm_k = HeadNorm(width // heads) if qk_norm else nn.Identity()
        self.to_out = WideLinear(width, width)

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None, counts: Tensor | None = None
    ) -> Tensor:
        """x (B, N, width), context (B, M, context_width) → (B, N, width).

        `mask` (B, M) is True at the keys that may be seen; a sample whose keys are all hidden gets zeros as its
        attended values. `counts` (B, M), instead of a mask: how many equal keys each stands for; 0 hides it.
        """
        assert (context is not None) == self.is_cross, "context is for cross-attention, and cross-attention needs it"
        if context is None:
            q, k, v = self.to_qkv(x).chunk(3, dim=-1)  # (B, N, width) each
        else:
            q = self.to_q(x)  # (B, N, width)
            k, v = self.to_kv(context).chunk(2, dim=-1)  # (B, M, width) each
        q, k, v = (split_heads(tokens, self.heads) for tokens in (q, k, v))  # (B, heads, N | M, width / heads)
        q, k = self.norm_q(q), self.norm_k(k)
        bias = None
        if mask is not None:
            any_visible = mask.any(dim=-1)[:, None, None, None]  # (B, 1, 1, 1)
            # A row without any visible key has no softmax: let it see all and blank the result.
            bias = mask[:, None, None, :] | ~any_visible  # (B, 1, 1, M)
        if counts is not None:
            bias = counts.to(q).log()[:, None, None, :]  # (B, 1, 1, M)
        attended = attend(q, k, v, bias)  # (B, heads, N, width / heads)
        if mask is not None:
            attended = torch.where(any_visible, attended, 0.0)
        return self.to_out(merge_heads(attended))  # (B, N, width)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, N, width) → (B, heads, N, width / heads)."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(tokens: Tensor) -> Tensor:
    """(B, heads, N, c) → (B, N, heads · c), the inverse of `split_heads`."""
    return tokens.transpose(1, 2).flatten(2)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q kᵀ / √c) v: q (B, heads, N, c), k and v (B, heads, M, c) → (B, heads, N, c).

    mask: True where visible, or numbers that are added to q kᵀ / √c.

    Fused, but for training in bfloat16 on a CPU: there the fused kernel's backward pass costs twice the plain one's
    (256 to 1,024 tokens), more than it saves in the forward pass.
    """
    plain = q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled() and q.requires_grad
    if not plain:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (B, heads, N, M)
    if mask is not None:
        shown = mask if mask.dtype != torch.bool else torch.where(mask, 0.0, -torch.inf)
        logits += shown.to(logits)  # in place: no backward pass reads the logits before it
    return torch.softmax(logits, dim=-1, dtype=logits.dtype) @ v
