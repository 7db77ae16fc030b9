"""Wavefront OBJ of a mesh: with a material and its texture in files beside it, or with colours of vertices."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fieldforge.geometry.colored_mesh import ROUGHNESS, ColoredMesh
from fieldforge.geometry.textured_mesh import TexturedMesh


def obj_files(mesh: ColoredMesh, name: str) -> dict[str, bytes]:
    """File name → content: of a textured mesh its PNG and MTL, then the OBJ. The object is called `name`.

    Without a texture the colours, sRGB, stand behind the coordinates of each vertex, as many tools read and write them.
    Faces share vertices across seams: texture coordinates have numbers of their own here.
    """
    head, vertices, files = "# fieldforge; metres, y up\n", mesh.vertices, {}
    order = [mesh.faces + 1, mesh.faces + 1]  # of vertices and normals
    body = ""
    if isinstance(mesh, TexturedMesh):
        texture = f"{name}_texture.png"
        files = {texture: mesh.png(), f"{name}.mtl": _material(name, texture).encode()}
        head += f"mtllib {name}.mtl\n"
        uv, number = np.unique(mesh.corner_uv.reshape(-1, 2), axis=0, return_inverse=True)
        order.insert(1, number.reshape(-1, 3) + 1)
        body = _lines("vt", uv)
    else:
        vertices = np.concatenate([vertices, mesh.colors], axis=1)
    body = _lines("v", vertices) + body + _lines("vn", mesh.normals)
    if isinstance(mesh, TexturedMesh):
        body += f"usemtl {name}\n"
    return {**files, f"{name}.obj": f"{head}o {name}\n{body}{_faces(order)}".encode()}


def _material(name: str, texture: str) -> str:
    """Pr and Pm are roughness and metallic of the PBR extension, which other tools skip."""
    return f"newmtl {name}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nPr {ROUGHNESS}\nPm 0\nmap_Kd {texture}\n"


def _lines(keyword: str, rows: NDArray[np.floating]) -> str:
    form = " ".join([keyword, *["%.7g"] * rows.shape[1]]) + "\n"
    return "".join(form % tuple(row) for row in rows.tolist())


def _faces(order: Sequence[NDArray[np.integer]]) -> str:
    corner = "/".join(["%d"] * 3) if len(order) == 3 else "%d//%d"
    rows = np.stack(order, axis=-1).reshape(len(order[0]), -1)
    form = f"f {corner} {corner} {corner}\n"
    return "".join(form % tuple(row) for row in rows.tolist())
