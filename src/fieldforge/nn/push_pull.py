"""Push-pull interpolation: values at some places of a grid, extended to all places."""

import torch
import torch.nn.functional as F
from torch import Tensor


def push_pull(values: Tensor, known: Tensor) -> Tensor:
    """values (B, C, c, c, c) where `known` (B, 1, c, c, c) is 1, zeros elsewhere → everywhere.

    Push-pull (Gortler et al. 1996, "The lumigraph"). Push: the grid is halved as long as its side is even; a coarse
    value is the mean of the known values below it. Pull: places without a value interpolate the coarser grid
    trilinearly. Known values stay. A sample without any known value gives zeros.
    """
    side = values.shape[-1]
    own = values / known.clamp(min=1e-6)
    if side % 2:
        whole = values.flatten(2).sum(-1) / known.flatten(2).sum(-1).clamp(min=1e-6)  # (B, C)
        rest = whole[..., None, None, None]
    else:
        coarse = push_pull(F.avg_pool3d(values, 2), F.avg_pool3d(known, 2))
        rest = F.interpolate(coarse, scale_factor=2, mode="trilinear", align_corners=False)
    return torch.where(known > 0, own, rest)


def push_pull_tokens(values: Tensor, known: Tensor, grid: tuple[int, ...]) -> Tensor:
    """`push_pull` of tokens in the order of a grid: values (B, T, C), known (B, T, 1) → (B, T, C)."""
    places = (each.transpose(1, 2).unflatten(2, grid) for each in (values, known))
    return push_pull(*places).flatten(2).transpose(1, 2)
