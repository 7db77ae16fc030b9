"""Scans: files of points on a part of a surface, or of meshes of it, in box units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fieldforge.errors import UserError
from fieldforge.geometry.sampling import sample_surface
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.readers.file_store import AssetError, FolderStore, Notes
from fieldforge.readers.limits import Limits
from fieldforge.readers.load import load_mesh
from fieldforge.readers.ply_file import Columns, read_elements, read_header

FEWEST = 8
GREY = 0.5  # of points without colours
HELD = 1 / 8  # of the mean of the boxes that hold points: a box with fewer is not known


def read_scan(path: Path, key: str, limits: Limits) -> np.ndarray:
    """Positions (N, 3), float32, of the vertices of a PLY file, in box units; faces do not matter.

    A part does not say how large the whole is, so its points are taken as they are: y up, front +z, the whole shape in
    -0.9…0.9 along its longest side.

    Args:
        path: of the file.
        key: of the configuration, for messages.
        limits: of its size.

    Raises:
        UserError: a missing or unreadable file, too few points, or points outside of the box.
    """
    columns = _elements(path, key, limits).get("vertex", {})
    return _in_box(_columns(columns, "xyz", path, key, "x, y and z"), path, key)


def read_part(path: Path, key: str, count: int, limits: Limits, rng: np.random.Generator) -> np.ndarray:
    """Position, unit normal and sRGB of `count` points on a part of a surface: (count, 9), float32, in box units.

    Of a PLY file with faces they are uniform on these; without, they are its vertices, which have normals.

    Raises:
        UserError: as `read_scan`, and without normals.
    """
    elements = _elements(path, key, limits)
    if any(column.counts is not None and len(column.counts) for column in elements.get("face", {}).values()):
        return _of_faces(path, key, count, limits, rng)
    columns = elements.get("vertex", {})
    points = _in_box(_columns(columns, "xyz", path, key, "x, y and z"), path, key)
    normals = _columns(columns, ("nx", "ny", "nz"), path, key, "normals (nx, ny, nz), which points without faces need")
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-9)
    colors = np.full_like(points, GREY)
    if all(name in columns for name in ("red", "green", "blue")):
        colors = _columns(columns, ("red", "green", "blue"), path, key, "colours")
        colors = colors / 255 if columns["red"].values.dtype.kind in "iu" else colors
    chosen = rng.choice(len(points), count, replace=len(points) < count)
    return np.concatenate([points, normals, colors.clip(0, 1)], axis=1)[chosen].astype(np.float32)


def places_anew(points: Tensor, shape: LatentShape) -> Tensor:
    """(T,) bool: the tokens to sample, which are those of boxes of the latents' grid without points (N, 3).

    Raises:
        UserError: latents whose tokens are not of boxes in a cube.
    """
    if shape.grid is None or len(shape.grid) != 3 or len(set(shape.grid)) != 1:
        raise UserError(
            "complete=true keeps the tokens where the scan is, and the latents of this model have no places in space: "
            "give a model of compact or sparse latents, or a part as points= to one that reads it"
        )
    side = shape.grid[0]
    x, y, z = ((points + 1) * (side / 2)).long().clamp(0, side - 1).unbind(-1)
    held = torch.bincount((x * side + y) * side + z, minlength=side**3)  # (T,)
    return held < HELD * held[held > 0].float().mean()


def _of_faces(path: Path, key: str, count: int, limits: Limits, rng: np.random.Generator) -> np.ndarray:
    try:
        mesh = load_mesh(FolderStore(path.parent, limits.max_file_bytes, typed=path.name), path.name, limits, Notes([]))
    except AssetError as error:
        raise UserError(f"{key}={path}: {error}") from error
    _in_box(mesh.vertices, path, key)
    if not mesh.face_areas.sum() > 0:
        raise UserError(f"{key}={path}: its faces have no area, give points with normals or other faces")
    samples = sample_surface(mesh, count, rng)
    return np.concatenate([samples.points, samples.normals, samples.colors[:, :3]], axis=1).astype(np.float32)


def _elements(path: Path, key: str, limits: Limits) -> dict[str, Columns]:
    """Elements of a PLY file by name. UserError for one that is missing, too large or damaged."""
    if not path.is_file():
        raise UserError(f"{key}={path}: there is no such file, give the path of a PLY file of points")
    if path.suffix.lower() != ".ply":
        raise UserError(f"{key}={path}: a part of a surface is read of a PLY file alone: export it as .ply")
    if path.stat().st_size > limits.max_file_bytes:
        raise UserError(f"{key}={path}: it is larger than {limits.max_file_mb} MB: give fewer points")
    try:
        payload = path.read_bytes()
        return read_elements(payload, read_header(payload))[0]
    except AssetError as error:
        raise UserError(f"{key}={path}: {error}") from error


def _columns(columns: Columns, names: str | tuple[str, ...], path: Path, key: str, noun: str) -> np.ndarray:
    if not all(name in columns and columns[name].counts is None for name in names):
        raise UserError(f"{key}={path}: its vertices have no {noun}: export the points with them")
    values = np.stack([columns[name].values for name in names], axis=1).astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{key}={path}: its vertices have values that are no numbers: export them again")
    return values


def _in_box(points: np.ndarray, path: Path, key: str) -> np.ndarray:
    if len(points) < FEWEST:
        raise UserError(f"{key}={path}: it has {len(points)} points, too few to say anything: give {FEWEST} or more")
    if not np.abs(points).max() <= 1:
        raise UserError(
            f"{key}={path}: its points lie outside of the box of the model, -1…1: scale and move them so that the "
            f"whole shape would lie in -0.9…0.9, y up, front +z"
        )
    return points
