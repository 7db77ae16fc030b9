"""The frame of Shap-E's networks: z up, front -y, where the rest of the house has y up, front +z."""

import torch
from torch import Tensor


def to_z_up(vectors: Tensor) -> Tensor:
    """(x, y, z) → (x, -z, y): points or directions (..., 3), y up → z up."""
    x, y, z = vectors.unbind(-1)
    return torch.stack([x, -z, y], dim=-1)


def to_y_up(vectors: Tensor) -> Tensor:
    """The inverse of `to_z_up`: (..., 3), z up → y up."""
    x, y, z = vectors.unbind(-1)
    return torch.stack([x, z, -y], dim=-1)
