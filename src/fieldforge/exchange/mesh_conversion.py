"""Mesh files, those of sample.py or others, in other formats: with fewer faces, textures and closed surfaces."""

from __future__ import annotations

import logging
from pathlib import Path

from fieldforge.domains.mesh_settings import MeshSettings
from fieldforge.errors import UserError
from fieldforge.geometry.colored_mesh import ColoredMesh, is_closed, is_manifold
from fieldforge.geometry.finishing import finish
from fieldforge.geometry.mesh_files import write_mesh
from fieldforge.geometry.mesh_surfaces import Surface
from fieldforge.readers.file_store import AssetError, FolderStore, Notes
from fieldforge.readers.limits import Limits
from fieldforge.readers.load import MESH_ENDINGS, load_mesh
from fieldforge.terminal import status

log = logging.getLogger(__name__)
LIMITS = Limits(max_triangles=5_000_000, max_file_mb=2048, min_thickness=0.005)
RESOLUTION = 192  # cells along an axis, where a surface is made anew
RICHEST = ("glb", "gltf", "obj", *MESH_ENDINGS)
"""Of files with one name the first is read: it has textures or finer colours."""


def convert_meshes(place: Path, folder: Path, settings: MeshSettings) -> None:
    """Write the mesh file `place`, or each mesh in the folder `place`, into `folder` under its own name.

    Raises:
        UserError: no mesh there, or none that can be converted; one of several that cannot is a warning.
    """
    files = mesh_files_of(place)
    failures = []
    for number, path in enumerate(files, start=1):
        status(f"{number} of {len(files)}: {path.name}")
        try:
            mesh = converted(path, settings)
        except UserError as error:
            failures.append(error)
            log.warning("warning: %s", error)
            continue
        for ending in settings.formats:
            write_mesh(mesh, folder / f"{path.stem}.{ending}")
    status("")
    if len(failures) == len(files):
        raise failures[0]


def mesh_files_of(place: Path) -> list[Path]:
    """The mesh file itself, or those in a folder, one of each name. UserError without any."""
    if place.is_file():
        return [place]
    found: dict[str, Path] = {}
    for ending in reversed(RICHEST):
        found |= {path.stem: path for path in sorted(place.glob(f"*.{ending}"))}
    if not found:
        raise UserError(f"meshes={place}: there is no mesh, give a file or a folder of {', '.join(MESH_ENDINGS)} files")
    return [found[name] for name in sorted(found)]


def converted(path: Path, settings: MeshSettings) -> ColoredMesh:
    """The mesh of a file, finished. UserError for one that cannot be read, or not be had as asked for."""
    store = FolderStore(path.parent, LIMITS.max_file_bytes, typed=path.name)
    notes = Notes([])
    try:
        surface = Surface(load_mesh(store, path.name, LIMITS, notes))
        mesh = surface.welded()
    except AssetError as error:
        raise UserError(f"{path}: {error}") from error
    for note in notes.texts:
        log.warning("%s: %s", path.name, note)
    if settings.watertight and not is_closed(mesh.faces):
        log.info("%s is open: its surface is made anew, on a grid of %d³ cells", path.name, RESOLUTION)
        mesh = surface.closed_anew(RESOLUTION)
        if mesh.is_empty:
            raise UserError(f"{path}: the surface encloses nothing and cannot be closed: leave mesh.watertight out")
    if settings.faces is not None and len(mesh.faces) > settings.faces and not is_manifold(mesh.faces):
        raise UserError(
            f"{path}: edges with more than two faces, or with faces that are turned against each other, keep it from "
            "having fewer: give mesh.watertight=true, or leave mesh.faces out"
        )
    finished = finish(mesh, surface.rgb, **settings.finishing)
    if settings.faces is not None and len(finished.faces) > settings.faces:
        log.warning("mesh.faces=%d: %s cannot do with fewer than %d", settings.faces, path.name, len(finished.faces))
    return finished
