"""A multilayer perceptron whose weights are arguments: every sample of the batch has its own weights."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def batched_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (B, N, in), weight (B, out, in), bias (out,) shared or (B, out) per sample → (B, N, out)."""
    if bias is None:
        return torch.bmm(x, weight.transpose(1, 2))
    bias = bias if bias.dim() == 1 else bias[:, None]  # (out,) | (B, 1, out)
    product = torch.bmm(x, weight.transpose(1, 2))
    return product.add_(bias.to(product))  # baddbmm takes longer on a CPU


def batched_mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activation: Callable[[Tensor], Tensor] = F.silu,
) -> Tensor:
    """x (B, N, in) → (B, N, out of the last layer), `activation` between the layers and none after the last.

    `weights[i]` (B, out_i, in_i), `biases[i]` (out_i,) shared over the batch, (B, out_i), or None.
    """
    if len(weights) != len(biases) or not weights:
        raise ValueError(f"batched_mlp needs one bias (or None) per weight, got {len(weights)} and {len(biases)}")
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = batched_linear(activation(x) if layer else x, weight, bias)  # (B, N, out_i)
    return x
