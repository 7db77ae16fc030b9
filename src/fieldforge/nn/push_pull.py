"""Values that some places of a grid have, for all of its places."""

import torch
import torch.nn.functional as F
from torch import Tensor


def push_pull(values: Tensor, known: Tensor) -> Tensor:
    """values (B, C, c, c, c) where `known` (B, 1, c, c, c) is 1, zeros elsewhere → everywhere.

    Push-pull (Gortler et al. 1996, "The lumigraph"): the grid is halved as long as its side is even, in the mean of
    what is known; on the way back, places that know nothing read the coarser grid trilinearly. What is known stays.
    Zeros where nothing is known at all.
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
