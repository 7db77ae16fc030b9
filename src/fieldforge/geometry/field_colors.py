"""Colours that a field gives to points of a mesh."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ColorQuery = Callable[[Tensor], Tensor]  # points (N, 3) → sRGB 0…1 (N, 3)


@torch.no_grad()
def query_colors(
    query_rgb: ColorQuery, points: NDArray[np.floating], device: torch.device | str = "cpu", chunk: int = 2**16
) -> NDArray[np.float32]:
    """sRGB 0…1 (N, 3) at points (N, 3) in box units; a query gets at most `chunk` points on `device`."""
    parts = torch.from_numpy(points.astype(np.float32)).to(device).split(chunk)
    return torch.cat([query_rgb(part).float().cpu() for part in parts]).clamp(0, 1).numpy()
