"""The recipe of orbits: one turn of a camera around a mesh, as a clip."""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fieldforge.data.clip_schema import CLIP
from fieldforge.data.schema import Sample
from fieldforge.errors import UserError
from fieldforge.geometry.camera import turntable_poses
from fieldforge.preparation.asset import (
    captions_as_seen,
    clean_mesh,
    oriented_normals,
    surface_members,
    views_from,
    visible_surface,
)
from fieldforge.preparation.asset_records import AssetRecord, generator_for, split_of
from fieldforge.preparation.clips.frame_tiles import four_frames
from fieldforge.preparation.distance import Caster
from fieldforge.preparation.recipe import PreparedAsset, Recipe
from fieldforge.preparation.settings import ViewSettings
from fieldforge.preparation.views import camera_distance
from fieldforge.ranges import Count, ShareBelow1
from fieldforge.readers.file_store import AssetError, FileStore, Notes
from fieldforge.readers.limits import Limits

COLOR_POINTS = 4096
"""On the visible surface, by which captions name the main colour."""


@dataclass(frozen=True, kw_only=True)
class OrbitRecipe(Recipe):
    """A full turn at one elevation; the step from the last frame to the first is as long as the others.

    Args:
        views: the frames: their number, side, field of view and light.
        azimuth_degrees: range of the first frame's azimuth; 0 is the front, 90 the +x side.
        elevation_degrees: range of the elevation above the horizon.
        limits: beyond these a mesh is rejected.
        heldout_share: of all name stems.
        samples_per_shard: clips of a tar.
    """

    schema = CLIP
    version = 1
    libraries = ("open3d",)
    preload = ("fieldforge.preparation.server", "fieldforge.preparation.clips.orbit_recipe")

    views: ViewSettings
    azimuth_degrees: tuple[float, ...]
    elevation_degrees: tuple[float, ...]
    limits: Limits
    heldout_share: ShareBelow1
    samples_per_shard: Count

    def __post_init__(self) -> None:
        _check_range("azimuth_degrees", self.azimuth_degrees, 360)
        _check_range("elevation_degrees", self.elevation_degrees, 90)
        if not 2 <= self.views.count <= 1000:
            raise UserError(f"preparation.views.count={self.views.count} must lie in 2…1000, the frames of a turn.")

    def prepare(self, record: AssetRecord, store: FileStore, seed: int) -> PreparedAsset:
        if record.reject is not None:
            raise AssetError(record.reject)
        notes = Notes([])
        caster = Caster(clean_mesh(record, store, self.limits, notes).mesh)
        generator = generator_for(seed, record.id)
        azimuth, elevation = _drawn(self.azimuth_degrees, generator), _drawn(self.elevation_degrees, generator)
        captions = _captions(record, caster, generator)
        fov_y = math.radians(self.views.fov_y_degrees)
        azimuths, elevations = self.directions(azimuth, elevation)
        views = views_from(self.poses(azimuth, elevation, camera_distance(caster.mesh, fov_y)), caster, self.views)
        sample: Sample = {
            "meta.json": {
                **record.meta(captions, record.split or split_of(record.name, self.heldout_share)),
                "fps": None,
                "fov_y": fov_y,
                "azimuth": azimuths,
                "elevation": elevations,
            },
            "cameras.npy": np.stack([view.camera_to_world for view in views]),
            **{f"frame_{frame:03d}.png": view.rgba for frame, view in enumerate(views)},
        }
        tiles = four_frames([view.rgba for view in views])
        return PreparedAsset(self.schema.encode(record.key, sample), tiles, notes.texts)

    def directions(self, azimuth: float, elevation: float) -> tuple[list[float], list[float]]:
        """Azimuths and elevations of the frames in radians, from those of the first."""
        count = self.views.count
        return [azimuth + 2 * math.pi * frame / count for frame in range(count)], [elevation] * count

    def poses(self, azimuth: float, elevation: float, distance: float) -> Tensor:
        """Cameras of the frames (V, 4, 4), camera to world."""
        return turntable_poses(self.views.count, distance, elevation, azimuth)


def _drawn(degrees: tuple[float, ...], generator: np.random.Generator) -> float:
    """An angle of this range, in radians."""
    return math.radians(generator.uniform(degrees[0], degrees[1]))


def _captions(record: AssetRecord, caster: Caster, generator: np.random.Generator) -> list[str]:
    """Captions as shapes have them."""
    surface = visible_surface(caster.mesh, COLOR_POINTS, generator)
    normals, exposed = oriented_normals(caster, surface)
    return captions_as_seen(record, surface_members(surface, normals, exposed)["surface_colors.npy"], exposed)


def _check_range(key: str, values: tuple[float, ...], most: float) -> None:
    if len(values) != 2 or not -most <= values[0] <= values[1] <= most:
        raise UserError(
            f"preparation.{key}={list(values)} must hold the least and the greatest angle, within -{most}…{most}."
        )
