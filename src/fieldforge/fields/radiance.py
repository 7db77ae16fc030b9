"""What the volume integral reads of a shape's field: density and colour, for coarse and fine samples apart or alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fieldforge.fields.base import Field, Params


class Radiance(NamedTuple):
    """density (B, N) ≥ 0 per box unit and rgb (B, N, 3) in 0…1."""

    density: Tensor
    rgb: Tensor


class Levels(NamedTuple):
    """Radiance of the two passes of hierarchical sampling (NeRF, Mildenhall et al. 2020, section 5.2).

    fine: of the image. coarse: what places its samples, where the field has it apart; None: the same.
    """

    fine: Radiance
    coarse: Radiance | None = None


RadianceQuery = Callable[[Tensor, Tensor], Levels]
"""points (B, N, 3) and unit directions (B, N, 3) of the rays through them → `Levels`."""


class RadianceField(Field):
    """A field whose radiance is more than its heads `density` and `rgb`."""

    @abstractmethod
    def radiance(self, points: Tensor, directions: Tensor, params: Params) -> Levels:
        """points (B, N, 3), unit directions (B, N, 3) of the rays, params (B, rows, width) → `Levels`."""


def radiance_query(field: Field, params: Params) -> RadianceQuery:
    """The radiance of a shape's field with these parameters, for `render_rays` and `render_views`.

    A density that follows from distances is computed in float32, also under autocast.
    """

    def query(points: Tensor, directions: Tensor) -> Levels:
        if isinstance(field, RadianceField):
            return field.radiance(points, directions, params)
        with torch.autocast(points.device.type, enabled=False):
            values = field.query(points, params)
        return Levels(Radiance(values["density"], values["rgb"]))

    return query
