"""A shape of another program, read from its mesh file, beside decoded ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from fieldforge.errors import UserError
from fieldforge.geometry.colored_mesh import ColoredMesh, vertex_normals
from fieldforge.geometry.glb_file import glb_bytes
from fieldforge.geometry.mesh import Mesh
from fieldforge.geometry.mesh_files import write_mesh
from fieldforge.preparation.asset import clean_mesh
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.pipeline import check_libraries
from fieldforge.preparation.shape_recipe import ShapeRecipe
from fieldforge.readers.file_store import AssetError, FolderStore, Notes
from fieldforge.readers.limits import Limits
from fieldforge.rendering.shading import portrait

EDGE = 0.03  # box units: colours of a texture are taken at corners so far apart


@dataclass(frozen=True)
class MeshOutput:
    """One shape as a mesh in the box, without a field; an `Outputs` of length 1."""

    surface: ColoredMesh

    @staticmethod
    def read(path: Path, limits: Limits) -> MeshOutput:
        """The mesh of a file, placed in the box as prepared assets are. UserError for an unusable one."""
        check_libraries(ShapeRecipe.libraries)
        record = AssetRecord(path.name, path.stem, str(path.parent), path.name, "file")
        store = FolderStore(path.parent, limits.max_file_bytes, typed=path.name)
        try:
            return MeshOutput(colored(clean_mesh(record, store, limits, Notes([])).mesh))
        except AssetError as error:
            raise UserError(f"{path}: {error}") from error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> MeshOutput:
        return self

    @property
    def is_empty(self) -> bool:
        return self.surface.is_empty

    def picture(self, size: int) -> Image.Image:
        return portrait(self.surface, size)

    def media(self) -> tuple[str, bytes] | None:
        return "model/gltf-binary", glb_bytes(self.surface)

    def write(self, folder: Path, name: str) -> dict[str, str | None]:
        write_mesh(self.surface, folder / f"{name}.glb")
        return {"glb": f"{name}.glb"}


def colored(mesh: Mesh) -> ColoredMesh:
    """The mesh with a colour at every corner of triangles whose edges are no longer than `EDGE`, in place of textures.

    Equal places keep one vertex for each colour and normal, so that sharp edges and seams stay.
    """
    corners = mesh.vertices[mesh.faces].reshape(-1, 3)  # (3F, 3): each face by itself
    vertices, faces, origin = trimesh.remesh.subdivide_to_size(
        corners, np.arange(len(corners)).reshape(-1, 3), EDGE, max_iter=12, return_index=True
    )
    owner = np.empty(len(vertices), np.int64)  # the face that a vertex lies on
    owner[faces] = np.asarray(origin)[:, None]
    weights = trimesh.triangles.points_to_barycentric(mesh.triangles[owner], vertices)  # (P, 3)
    colors = mesh.color_at(owner, weights)[:, :3]
    normals = vertex_normals(vertices, faces)  # of flat parts: a face shares no vertex with others
    return ColoredMesh(
        vertices.astype(np.float32), faces.astype(np.int64), colors.astype(np.float32), normals.astype(np.float32)
    )
