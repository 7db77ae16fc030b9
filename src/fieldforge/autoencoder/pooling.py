"""Means of the values that share a cell."""

import torch
from torch import Tensor


def scatter_mean(values: Tensor, index: Tensor, bins: int) -> Tensor:
    """Mean of the values (B, N, W) that fall in each bin, index (B, N) in [0, bins); empty bins are 0: (B, bins, W)."""
    batch, count, width = values.shape
    flat = (index + torch.arange(batch, device=index.device)[:, None] * bins).flatten()  # (B · N,)
    filled = values.new_zeros(batch * bins).index_add(0, flat, values.new_ones(batch * count))  # (B · bins,)
    # Dividing the few points rather than the many bins: most bins are empty.
    shares = values.flatten(0, 1) / filled[flat][:, None]  # (B · N, W)
    return values.new_zeros(batch * bins, width).index_add(0, flat, shares).view(batch, bins, width)
