"""The recipe of six views: a picture of a mesh and six views from fixed directions around it, as a clip."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldforge.errors import UserError
from fieldforge.geometry.camera import orbit_poses
from fieldforge.geometry.six_views import with_six_views
from fieldforge.preparation.clips.orbit_recipe import OrbitRecipe


@dataclass(frozen=True, kw_only=True)
class SixViewsRecipe(OrbitRecipe):
    """The first frame is the picture, from a direction that is drawn for each asset; see `with_six_views`."""

    preload = ("fieldforge.preparation.server", "fieldforge.preparation.clips.six_views_recipe")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views.count != 7:
            raise UserError(f"preparation.views.count={self.views.count} must be 7: a picture and six views of it.")

    def directions(self, azimuth: float, elevation: float) -> tuple[list[float], list[float]]:
        return with_six_views(azimuth, elevation)

    def poses(self, azimuth: float, elevation: float, distance: float) -> Tensor:
        azimuths, elevations = self.directions(azimuth, elevation)
        return orbit_poses(torch.tensor(azimuths), torch.tensor(elevations), distance)
