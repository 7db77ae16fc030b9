"""Vertex colours of OBJ files, an extension of the format that many programs write."""

import re
from dataclasses import replace

import numpy as np

from fieldforge.geometry.mesh import Mesh
from fieldforge.readers.file_store import Notes

MRGB = re.compile(rb"^#MRGB[ \t]+([0-9A-Fa-f]+)", re.MULTILINE)


def vertex_colors(rows: np.ndarray, counts: np.ndarray, notes: Notes) -> np.ndarray | None:
    """sRGB (P, 3) in 0…1 of the numbers in each line (P, 8) and how many these are (P,); None where no line has any.

    Six numbers are x y z r g b, eight x y z w r g b a. Seven are x y z w r g b where the fourth is 1 everywhere (no
    mesh has another weight), else x y z r g b a. Vertices without a colour are NaN, which is noted.
    Whole numbers above 1 mean 0…255, or 0…65535.
    """
    colors = np.full((len(rows), 3), np.nan)
    colors[counts == 6] = rows[counts == 6, 3:6]
    seven = counts == 7
    colors[seven] = rows[seven, 4:7] if (rows[seven, 3] == 1).all() else rows[seven, 3:6]
    colors[counts == 8] = rows[counts == 8, 4:7]
    stated = np.isfinite(colors).all(axis=1)
    if not stated.any():
        return None
    if not stated.all():
        colors[~stated] = np.nan
        notes.add(f"{int((~stated).sum()):,} of {len(rows):,} vertices have no colour: they are white")
    highest = colors[stated].max()
    whole = (colors[stated] == np.round(colors[stated])).all()
    scale = 1 if highest <= 1 or not (whole or highest > 2) else 255 if highest <= 255 else 65535
    return np.clip(colors / scale, 0, 1)


def polypaint(payload: bytes, count: int, notes: Notes) -> np.ndarray | None:
    """sRGB (P, 3) in 0…1 of the `count` vertices of a file of ZBrush, None where it has none.

    They stand in comments `#MRGB`: two hexadecimal digits each of mask, red, green and blue, vertex after vertex.
    """
    digits = b"".join(MRGB.findall(payload))
    if not digits:
        return None
    if len(digits) != 8 * count:
        notes.add(f"its #MRGB comments have colours for {len(digits) // 8:,} of {count:,} vertices: they are left out")
        return None
    return np.frombuffer(bytes.fromhex(digits.decode()), np.uint8).reshape(-1, 4)[:, 1:] / 255


def blend_colors(mesh: Mesh, colors: np.ndarray, described: list[bool]) -> Mesh:
    """The mesh with colours of its face corners (F, 3, 3), NaN where there is none; `described` is of each material.

    A corner's colour stands for a plain material: one that no file describes, or of a grey, which exporters write as
    their default. It multiplies a material of another colour. It does not change a texture, which shows the same thing
    in finer detail (scans have both). A file whose colours are all white says nothing.
    """
    stated = np.isfinite(colors).all(axis=2)  # (F, 3)
    if (colors[stated] == 1).all():
        return mesh
    of_face = np.zeros(len(mesh.faces), np.int64) if mesh.face_material is None else mesh.face_material.copy()
    textured = np.array([material.texture is not None for material in mesh.materials])[of_face]
    if mesh.corner_uv is not None:
        textured &= np.isfinite(mesh.corner_uv).all(axis=(1, 2))
    else:
        textured[:] = False
    stated &= ~textured[:, None]
    materials = list(mesh.materials)
    for index in np.unique(of_face[stated.any(axis=1)]):
        red, green, blue, alpha = materials[index].color
        if not described[index] or red == green == blue:
            of_face[(of_face == index) & stated.any(axis=1)] = len(materials)
            materials.append(replace(materials[index], color=(1.0, 1.0, 1.0, alpha)))
    corners = np.ones((*colors.shape[:2], 4), np.float32)
    corners[stated, :3] = colors[stated]
    return replace(mesh, materials=tuple(materials), face_material=of_face, corner_colors=corners)
