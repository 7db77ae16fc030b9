"""Preparation of one asset, from its file to an encoded sample, in order."""

import math
from pathlib import Path

import numpy as np
import torch

from fieldforge.data.schema import Sample
from fieldforge.data.shape_schema import DEPTH_UNIT, SAMPLE
from fieldforge.geometry.camera import fibonacci_poses, orbit_poses
from fieldforge.geometry.mesh import Mesh
from fieldforge.geometry.sampling import SurfaceSamples, sample_surface, sample_visible_surface
from fieldforge.preparation.asset_records import AssetRecord, generator_for, split_of
from fieldforge.preparation.captions import captions_of
from fieldforge.preparation.clean import (
    NormalisedMesh,
    check_mesh,
    normalise,
    remove_invisible_faces,
    remove_misleading_faces,
)
from fieldforge.preparation.distance import Caster, exposed_sides, signed_distance
from fieldforge.preparation.recipe import PreparedAsset
from fieldforge.preparation.settings import DistanceSettings, PreparationSettings, ViewSettings
from fieldforge.preparation.views import View, camera_distance, render_view
from fieldforge.readers.file_store import AssetError, FileStore, FolderStore, Notes
from fieldforge.readers.limits import Limits
from fieldforge.readers.load import load_mesh
from fieldforge.readers.texture import pixel_limit

THUMBNAIL_SIZE = 192
THUMBNAIL_ANGLES = (math.radians(25), math.radians(18))
"""Azimuth and elevation: from the front (+z), a little from the right and above."""


def prepare_asset(record: AssetRecord, store: FileStore, settings: PreparationSettings, seed: int) -> PreparedAsset:
    """Loads, cleans, normalises, samples, measures and renders one asset. AssetError: why it cannot be used."""
    if record.reject is not None:
        raise AssetError(record.reject)
    notes = Notes([])
    normalised = clean_mesh(record, store, settings.limits, notes)
    caster = Caster(normalised.mesh)
    rng = generator_for(seed, record.id)

    surface = visible_surface(normalised.mesh, settings.surface.points, rng)
    normals, exposed = oriented_normals(caster, surface)
    near_points = near_surface_points(surface, settings.distance, normalised.mesh, rng)
    volume_points = rng.uniform(-1, 1, (settings.distance.volume_points, 3)).astype(np.float16)
    # Distances belong to the points as stored: they are measured after rounding.
    points = np.concatenate([near_points, volume_points]).astype(np.float32)
    distance = signed_distance(caster, points, settings.distance.epsilon).astype(np.float16)

    fov_y = float(np.radians(settings.views.fov_y_degrees))
    views = rendered_views(caster, settings.views)
    stored_surface = surface_members(surface, normals, exposed)
    colors = stored_surface["surface_colors.npy"]
    split = split_of_record(record, settings)
    sample: Sample = {
        "meta.json": meta_of(record, normalised, split, fov_y, settings.distance.epsilon, colors, exposed),
        **stored_surface,
        "near_points.npy": near_points,
        "near_sdf.npy": distance[: len(near_points)],
        "volume_points.npy": volume_points,
        "volume_sdf.npy": distance[len(near_points) :],
        "cameras.npy": np.stack([view.camera_to_world for view in views]),
        **view_members(views),
    }
    azimuth, elevation = (torch.tensor(angle) for angle in THUMBNAIL_ANGLES)
    front = orbit_poses(azimuth, elevation, camera_distance(normalised.mesh, fov_y))
    thumbnail = render_view(caster, front, THUMBNAIL_SIZE, fov_y, shading=1.0).rgba
    return PreparedAsset(SAMPLE.encode(record.key, sample), thumbnail, notes.texts)


def clean_mesh(record: AssetRecord, store: FileStore, limits: Limits, notes: Notes) -> NormalisedMesh:
    """The asset's mesh in the box, without misleading faces. AssetError: why it cannot be used."""
    with pixel_limit():
        mesh = load_mesh(store, record.file, limits, notes)
    check_mesh(mesh, limits.max_triangles)
    mesh = remove_invisible_faces(fit_to_catalogue(mesh, record))
    normalised = normalise(mesh, limits.min_thickness)
    return NormalisedMesh(remove_misleading_faces(normalised.mesh), normalised.center, normalised.scale)


def members_of_file(path: Path, points: int, limits: Limits, seed: int, views: ViewSettings | None = None) -> Sample:
    """This mesh file's surface members on `points` points, and with `views` these, cameras and `fov_y`. Writes nothing.

    The file itself may be a link to anywhere; the ending of the link's own name defines the format.

    AssetError: why it cannot be used.
    """
    record = AssetRecord(path.name, path.stem, str(path.parent), path.name, "file")
    store = FolderStore(path.parent, limits.max_file_bytes, typed=path.name)
    caster = Caster(clean_mesh(record, store, limits, Notes([])).mesh)
    surface = visible_surface(caster.mesh, points, generator_for(seed, record.id))
    members = surface_members(surface, *oriented_normals(caster, surface))
    if views is not None:
        rendered = rendered_views(caster, views)
        members |= {"meta.json": {"fov_y": math.radians(views.fov_y_degrees)}, **view_members(rendered)}
        members["cameras.npy"] = np.stack([view.camera_to_world for view in rendered])
    return members


def split_of_record(record: AssetRecord, settings: PreparationSettings) -> str:
    """The source's split, else the split of the name's stem; `assign_splits` handles empty splits."""
    return record.split or split_of(record.name, settings.heldout_share)


def fit_to_catalogue(mesh: Mesh, record: AssetRecord) -> Mesh:
    """Turns the model by its catalogue's rotation and scales each axis to its size in cm.

    Some catalogues keep the rotation of an older model: it is left out where the proportions agree better without it.
    """
    vertices = mesh.vertices
    if record.rotation is not None:
        turned = vertices @ np.array(record.rotation).T
        if record.size_cm is None or _disproportion(turned, mesh, record) <= _disproportion(vertices, mesh, record):
            vertices = turned
    if record.size_cm is not None:
        corners = vertices[mesh.faces].reshape(-1, 3)
        extent = np.ptp(corners, axis=0)
        size = np.array(record.size_cm)
        vertices = vertices * np.where((extent > 0) & (size > 0), size / np.maximum(extent, 1e-300), 1.0)
    return mesh.with_vertices(vertices)


def _disproportion(vertices: np.ndarray, mesh: Mesh, record: AssetRecord) -> float:
    """How far the proportions of the bounding box are from the catalogue's: spread of the log ratios of the axes."""
    extent = np.ptp(vertices[mesh.faces].reshape(-1, 3), axis=0)
    ratios = np.log(np.maximum(extent, 1e-9)) - np.log(np.maximum(np.array(record.size_cm), 1e-9))
    return float(np.ptp(ratios)) - 1e-6


def visible_surface(mesh: Mesh, points: int, rng: np.random.Generator) -> SurfaceSamples:
    """Points on the part of the surface that views show. AssetError if no part is visible."""
    surface = sample_visible_surface(mesh, points, rng)
    if surface is None:
        raise AssetError("its textures are transparent everywhere; check the opacity of its materials.")
    return surface


def oriented_normals(caster: Caster, surface: SurfaceSamples) -> tuple[np.ndarray, np.ndarray]:
    """Normals (N, 3), flipped where only their back side is visible from outside, and exposed (N,) bool."""
    front, back = exposed_sides(caster, surface.points, surface.normals)
    normals = np.where((back & ~front)[:, None], -surface.normals, surface.normals)
    return normals, front | back


def surface_members(surface: SurfaceSamples, normals: np.ndarray, exposed: np.ndarray) -> Sample:
    """Points with their oriented normals (N, 3) and exposed (N,) bool, as they are stored."""
    return {
        "surface_points.npy": surface.points.astype(np.float16),
        "surface_normals.npy": np.round(normals * 127).astype(np.int8),
        "surface_colors.npy": np.round(np.clip(surface.colors[:, :3], 0, 1) * 255).astype(np.uint8),
        "surface_exposed.npy": exposed.astype(np.uint8),
    }


def near_surface_points(
    surface: SurfaceSamples, settings: DistanceSettings, mesh: Mesh, rng: np.random.Generator
) -> np.ndarray:
    """Surface points with Gaussian offsets: (near_points, 3) float16 in the box, the widths of `near_std` in turn."""
    base = sample_surface(mesh, settings.near_points, rng).points
    std = np.array(settings.near_std)[np.arange(settings.near_points) % len(settings.near_std)]
    return np.clip(base + std[:, None] * rng.standard_normal(base.shape), -1, 1).astype(np.float16)


def rendered_views(caster: Caster, settings: ViewSettings) -> list[View]:
    """Views of the mesh from all sides, at the distance from which it is in view."""
    fov_y = float(np.radians(settings.fov_y_degrees))
    return views_from(fibonacci_poses(settings.count, camera_distance(caster.mesh, fov_y)), caster, settings)


def views_from(poses: torch.Tensor, caster: Caster, settings: ViewSettings) -> list[View]:
    """Views of the mesh from poses (V, 4, 4), camera to world."""
    fov_y = float(np.radians(settings.fov_y_degrees))
    return [render_view(caster, pose, settings.size, fov_y, settings.shading, settings.light) for pose in poses]


def view_members(views: list[View]) -> Sample:
    """Pictures and depths by member suffix; depth in steps of DEPTH_UNIT."""
    members: Sample = {}
    for index, view in enumerate(views):
        steps = np.round(view.depth / DEPTH_UNIT)
        assert steps.max() <= 65535, "a camera stands further away than depth can be stored"
        members[f"view_{index:03d}.png"] = view.rgba
        members[f"depth_{index:03d}.png"] = steps.astype(np.uint16)
    return members


def captions_as_seen(record: AssetRecord, colors: np.ndarray, exposed: np.ndarray) -> list[str]:
    """Captions with the main colour of what is seen of colours uint8 (N, 3); of all of it, where nothing is.

    exposed: (N,) bool.
    """
    return captions_of(record, colors[exposed] if exposed.any() else colors)


def meta_of(
    record: AssetRecord,
    normalised: NormalisedMesh,
    split: str,
    fov_y: float,
    epsilon: float,
    colors: np.ndarray,
    exposed: np.ndarray,
) -> dict[str, object]:
    """`meta.json`."""
    return {
        **record.meta(captions_as_seen(record, colors, exposed), split),
        "center": [float(value) for value in normalised.center],
        "scale": float(normalised.scale),
        "epsilon": float(epsilon),
        "fov_y": fov_y,
        "size_cm": None if record.size_cm is None else list(record.size_cm),
    }
