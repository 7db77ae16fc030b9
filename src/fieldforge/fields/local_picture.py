"""A picture of any resolution: features on a grid, and a perceptron that reads them at points of [-1, 1]²."""

import torch
from torch import Tensor, nn

from fieldforge.fields.base import Field, Params, Values
from fieldforge.ranges import Count


class LocalPictureField(Field):
    """Generated features (B, cells², F) on a grid; a shared perceptron reads the four around a point.

    LIIF (Chen et al. 2021, section 3): it sees a feature and the offset from its cell, and the four answers are mixed
    by the areas that lie opposite (eq. 4), so that colours are continuous. Parameter `features` row by row from the
    top left. Head `rgb` (B, N, 3): sRGB, in 0…1 but for the perceptron's excess.
    """

    dimensions = 2
    heads = {"rgb": 3}

    def __init__(self, cells: Count = 32, features: Count = 32, hidden: Count = 64):
        super().__init__()
        self.cells, self.features = cells, features
        self.read = nn.Sequential(
            nn.Linear(features + 2, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 3)
        )

    @property
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        return {"features": (self.cells**2, self.features)}

    def query(self, points: Tensor, params: Params) -> Values:
        self.check(params)
        features = params["features"]  # (B, cells², F)
        place = (points.to(features) + 1) / 2 * self.cells - 0.5  # (B, N, 2) in cells, their centres whole
        low = place.floor()
        mixed = features.new_zeros(*points.shape[:2], 3)
        for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
            cell = low + place.new_tensor(corner)  # (B, N, 2)
            offset = place - cell
            share = (1 - offset.abs()).prod(-1, keepdim=True)  # (B, N, 1)
            column, row = cell.clamp(0, self.cells - 1).long().unbind(-1)  # (B, N) each
            index = (row * self.cells + column)[..., None].expand(-1, -1, self.features)
            mixed = mixed + share * self.read(torch.cat([features.gather(1, index), offset], -1))
        return {"rgb": (mixed + 1) / 2}
