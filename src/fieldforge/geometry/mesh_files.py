"""Meshes of fields as files: GLB and USDZ for viewers, OBJ and PLY for tools.

Numbers in files are those of the mesh: y up, front +z; where a format has a unit of length, it is the metre.
"""

import os
from pathlib import Path

import numpy as np
import trimesh

from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.glb_file import glb_bytes
from fieldforge.geometry.obj_file import obj_files
from fieldforge.geometry.usdz_file import usdz_bytes

EMPTY_PLY = b"""ply
format binary_little_endian 1.0
element vertex 0
property float x
property float y
property float z
element face 0
property list uchar int vertex_indices
end_header
"""


def write_mesh(mesh: ColoredMesh, path: Path) -> None:
    """Write the mesh as .glb, .ply, .obj or .usdz, by the name's ending; the file is complete or not there.

    The object in it has the file's name. A textured OBJ has its material and texture in two files beside it.
    """
    for name, data in mesh_files(mesh, path.stem, path.suffix).items():
        partial = path.with_name(f".{name}.partial")
        partial.write_bytes(data)
        os.replace(partial, path.with_name(name))


def mesh_files(mesh: ColoredMesh, name: str, ending: str) -> dict[str, bytes]:
    """File name → content of a mesh called `name`; the file with the ending (.glb, .ply, .obj, .usdz) is the last."""
    if ending == ".obj":
        return obj_files(mesh, name)
    if ending == ".ply":
        return {f"{name}.ply": ply_bytes(mesh)}
    return {f"{name}{ending}": {".glb": glb_bytes, ".usdz": usdz_bytes}[ending](mesh, name)}


def ply_bytes(mesh: ColoredMesh) -> bytes:
    """Binary PLY with normals and sRGB colours (uchar) of vertices, also of a textured mesh."""
    if mesh.is_empty:
        return EMPTY_PLY
    colors = np.round(mesh.colors * 255).astype(np.uint8)
    exported = trimesh.Trimesh(
        mesh.vertices, mesh.faces, vertex_normals=mesh.normals, vertex_colors=colors, process=False, validate=False
    )
    return trimesh.exchange.ply.export_ply(exported, vertex_normal=True)
