"""Settings of a preparation, each checked when it is made."""

from dataclasses import asdict, dataclass
from typing import Any

from fieldforge.errors import UserError
from fieldforge.ranges import Count, Pixels, Share, ShareBelow1
from fieldforge.readers.limits import Limits, check_positive
from fieldforge.rendering.mesh_views import Light


@dataclass(frozen=True)
class SurfaceSettings:
    """Settings of surface points."""

    points: Count

    def __post_init__(self) -> None:
        check_positive("preparation.surface", points=self.points)


@dataclass(frozen=True)
class DistanceSettings:
    """Settings of signed distances. `near_std`: standard deviations of offsets from the surface, in equal shares (box
    units).
    """

    near_points: Count
    near_std: tuple[float, ...]
    volume_points: Count
    epsilon: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "near_std", tuple(float(std) for std in self.near_std))
        check_positive("preparation.distance", near_points=self.near_points, volume_points=self.volume_points)
        if not self.near_std or min(self.near_std) <= 0:
            raise UserError(
                f"preparation.distance.near_std={list(self.near_std)} must hold numbers above 0, like [0.01, 0.05]."
            )
        if not 0 <= self.epsilon < 0.1:
            raise UserError(f"preparation.distance.epsilon={self.epsilon} must lie in 0…0.1 box units; try 0.006.")


@dataclass(frozen=True)
class ViewSettings:
    """Settings of views: their number, side in pixels, vertical field of view, strength of shading.

    light: another light than that of the shading, which is 0 then; None: that one.
    """

    count: Count
    size: Pixels
    fov_y_degrees: float
    shading: Share
    light: Light | None = None

    def __post_init__(self) -> None:
        check_positive("preparation.views", count=self.count, size=self.size)
        if not 1 <= self.fov_y_degrees <= 120:
            raise UserError(f"preparation.views.fov_y_degrees={self.fov_y_degrees} must lie in 1…120; try 40.")
        if not 0 <= self.shading <= 1:
            raise UserError(f"preparation.views.shading={self.shading} must lie in 0…1; 0 gives unlit colours.")
        if self.light is not None and self.shading:
            raise UserError(f"preparation.views has a light and shading={self.shading}: leave one of them out")


@dataclass(frozen=True)
class PreparationSettings:
    """All settings that, with seed and source, determine the samples; and the limits of one asset."""

    surface: SurfaceSettings
    distance: DistanceSettings
    views: ViewSettings
    limits: Limits
    heldout_share: ShareBelow1
    samples_per_shard: Count

    def __post_init__(self) -> None:
        check_positive("preparation", samples_per_shard=self.samples_per_shard)
        if not 0 <= self.heldout_share < 1:
            raise UserError(f"preparation.heldout_share={self.heldout_share} must lie in 0…1; try 0.1.")

    def determining(self) -> dict[str, Any]:
        """The values that determine the samples, as plain ones."""
        views = {key: value for key, value in asdict(self.views).items() if value is not None}  # (as before lights)
        return asdict(self) | {"views": views, "limits": self.limits.determining()}
