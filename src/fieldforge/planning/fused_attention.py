"""A GPU's fused attention for fake tensors on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

from fieldforge.nn import attention


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Inside this context attention is fused in every precision; `attend` itself is unfused on a CPU in bfloat16."""
    usual = attention.attend
    attention.attend = fused
    try:
        yield
    finally:
        attention.attend = usual


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """`nn.attention.attend` by the memory-efficient kernel, which keeps one number a row of the logits."""
    bias = None
    if mask is not None:
        numbers = torch.zeros_like(mask, dtype=q.dtype)
        bias = numbers.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else mask.to(q.dtype)
        bias = bias.expand(*q.shape[:-1], k.shape[-2])  # (B, heads, N, M)
    needs = q.requires_grad or k.requires_grad or v.requires_grad
    order = (tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (q, k, v))
    return torch.ops.aten._scaled_dot_product_efficient_attention(*order, bias, needs)[0]


def cpu_formulas() -> dict[Any, Callable[..., int]]:
    """Operation counts of the CPU's fused attention, which PyTorch's counter lacks."""

    def forward(q: Any, k: Any, v: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
        return sdpa_flop_count(q, k, v)

    def backward(grad: Any, q: Any, k: Any, v: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
        return sdpa_backward_flop_count(grad, q, k, v)

    aten = torch.ops.aten
    return {
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
