"""Pictures as fields: colour at points of the square [-1, 1]², x to the right, y downwards."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldforge.fields.base import Field, Params, Values
from fieldforge.ranges import Count


class PictureGrid(Field):
    """size² pixels, read bilinearly: exact at the centres of pixels, constant beyond the outermost ones.

    Parameter `pixels` (B, size², 3): row by row from the top left, sRGB in -1…1 as a decoder puts them out. Head `rgb`
    (B, N, 3) is in 0…1 for those; what lies beyond is not cut off, so that gradients reach it.
    """

    dimensions = 2
    heads = {"rgb": 3}

    def __init__(self, size: Count):
        super().__init__()
        self.size = size

    @property
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        return {"pixels": (self.size**2, 3)}

    def query(self, points: Tensor, params: Params) -> Values:
        self.check(params)
        picture = params["pixels"].transpose(1, 2).unflatten(2, (self.size, self.size))  # (B, 3, H, W)
        read = F.grid_sample(picture, points[:, None].to(picture), padding_mode="border", align_corners=False)
        return {"rgb": (read[:, :, 0].transpose(1, 2) + 1) / 2}  # (B, N, 3)


def pixel_centres(size: int, device: torch.device | str = "cpu") -> Tensor:
    """Points (size², 2) of the square [-1, 1]², x to the right and y downwards, row by row from the top left."""
    places = (torch.arange(size, device=device) + 0.5) / size * 2 - 1
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    return torch.stack([columns, rows], -1).reshape(-1, 2)
