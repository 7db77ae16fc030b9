"""Clips as fields: colour at points of the cube [-1, 1]³, x to the right, y downwards, the third axis is time."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldforge.fields.base import Field, Params, Values
from fieldforge.fields.picture import pixel_centres
from fieldforge.ranges import Count


class ClipGrid(Field):
    """V frames of size² pixels, read trilinearly: exact at the centres of pixels, constant beyond the outermost ones.

    Parameter `pixels` (B, V · size², 3): frame by frame, row by row from the top left, sRGB in -1…1 as a decoder puts
    them out. A point is (x, y, time); V equal parts of -1…1 are the frames. Head `rgb` (B, N, 3) is in 0…1 for those;
    what lies beyond is not cut off. A clip of another number of frames than `frames` is read likewise.
    """

    dimensions = 3
    heads = {"rgb": 3}
    ragged = frozenset({"pixels"})

    def __init__(self, size: Count, frames: Count):
        super().__init__()
        self.size, self.frames = size, frames

    @property
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        return {"pixels": (self.frames * self.size**2, 3)}

    def query(self, points: Tensor, params: Params) -> Values:
        self.check(params)
        volume = params["pixels"].transpose(1, 2).unflatten(2, (-1, self.size, self.size))  # (B, 3, V, H, W)
        places = points[:, None, None].to(volume)  # (B, 1, 1, N, 3)
        read = F.grid_sample(volume, places, padding_mode="border", align_corners=False)  # (B, 3, 1, 1, N)
        return {"rgb": (read[:, :, 0, 0].transpose(1, 2) + 1) / 2}  # (B, N, 3)


def clip_centres(size: int, frames: int, device: torch.device | str = "cpu") -> Tensor:
    """Points (frames · size², 3) of the cube, (x, y, time): the centres of all pixels of all frames, frame by frame."""
    times = (torch.arange(frames, device=device) + 0.5) / frames * 2 - 1
    square = pixel_centres(size, device)
    return torch.cat([square.repeat(frames, 1), times.repeat_interleave(size**2)[:, None]], 1)
