"""Wavefront OBJ + MTL as real libraries write them: mixed polygons, missing coordinates, missing textures.

This package has its own reader because general loaders drop all texture coordinates of a material if one face lacks
them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fieldforge.geometry.mesh import INVISIBLE, Mesh
from fieldforge.readers.file_store import AssetError, FileStore, Notes
from fieldforge.readers.limits import Limits, check_announced
from fieldforge.readers.mtl import ObjMaterial, opaque
from fieldforge.readers.numbers import odd_word
from fieldforge.readers.obj_colors import blend_colors, polypaint, vertex_colors
from fieldforge.readers.obj_materials import materials_of
from fieldforge.readers.polygons import triangulate
from fieldforge.readers.wavefront import number, numbers_only, statements


@dataclass
class _Faces:
    """Faces of one corner count and one style of reference (`v`, `v/t`, `v//n`, `v/t/n`), in file order."""

    lines: list[bytes] = field(default_factory=list)
    materials: list[int] = field(default_factory=list)
    known: list[tuple[int, int]] = field(default_factory=list)  # vertices and coordinates read so far


@dataclass
class _Content:
    """The lines of a file by kind. Material 0 has no name."""

    vertices: list[bytes] = field(default_factory=list)
    uvs: list[bytes] = field(default_factory=list)
    faces: dict[tuple[int, bytes], _Faces] = field(default_factory=dict)
    materials: dict[bytes, int] = field(default_factory=lambda: {b"": 0})
    libraries: list[bytes] = field(default_factory=list)
    surfaces: int = 0  # free-form ones
    slender: int = 0  # faces of fewer than three corners
    loose: bool = False  # points and lines


def read_obj(store: FileStore, name: str, limits: Limits, notes: Notes) -> Mesh:
    """Mesh of an OBJ file with the materials of its MTL files. AssetError with the reason if it cannot be used.

    If all its materials are invisible, they become opaque, with a note: such opacities are export errors.
    """
    payload = store.read(name)
    content = _collect(payload)
    _check_faces(content, notes)
    check_announced(sum(len(group.lines) * (count - 2) for (count, _), group in content.faces.items()), limits)
    rows, counts = _numbers(content.vertices, 8)
    vertices, colors = rows[:, :3], vertex_colors(rows, counts, notes)
    if colors is None:
        colors = polypaint(payload, len(rows), notes)
    uvs = _numbers(content.uvs, 2)[0] if content.uvs else np.empty((0, 2))

    faces, corner_uvs, face_materials = [], [], []
    lost_uvs = 0
    for (count, style), group in content.faces.items():
        corner_vertices, corner_uv = _parse_corners(group, count, style)  # each (M, n), -1 where absent
        if corner_vertices.min() < 0 or corner_vertices.max() >= len(vertices):
            raise AssetError("a face refers to a vertex that is not in the file; export the mesh again.")
        lost_uvs += int(((corner_uv >= len(uvs)) | (corner_uv < -1)).sum())
        cut = triangulate(vertices[corner_vertices])  # (M, n - 2, 3)
        row = np.arange(len(cut))[:, None, None]
        faces.append(corner_vertices[row, cut].reshape(-1, 3))
        corner_uvs.append(_look_up(uvs, corner_uv)[row, cut].reshape(-1, 3, 2))
        face_materials.append(np.repeat(group.materials, count - 2))
    if lost_uvs:
        notes.add(f"{lost_uvs} corners refer to texture coordinates that are not in the file")
    all_faces, of_face, corner_uv = map(np.concatenate, (faces, face_materials, corner_uvs))
    surfaces = _materials(store, name, content, of_face, notes)
    _check_textures(surfaces, of_face, corner_uv, notes)
    mesh = Mesh(
        vertices,
        all_faces,
        materials=tuple(surface.material for surface in surfaces),
        face_material=of_face,
        corner_uv=_placed(corner_uv, of_face, surfaces) if len(uvs) else None,
    )
    return mesh if colors is None else blend_colors(mesh, colors[all_faces], [s.described for s in surfaces])


def _check_faces(content: _Content, notes: Notes) -> None:
    """Notes what no mesh can hold. AssetError if there is nothing else."""
    if not content.vertices or not content.faces:
        other = "free-form surfaces" if content.surfaces else "points and lines" if content.vertices else ""
        what = f"only {other} and no faces" if other else "no faces"
        raise AssetError(f"the file holds {what}; export the mesh again.")
    if content.surfaces:
        notes.add(f"its {content.surfaces} free-form surfaces are left out")
    if content.slender:
        notes.add(f"{content.slender:,} faces have fewer than three corners: they are left out")
    if content.loose:
        notes.add("the points and lines of the file are left out")


def _check_textures(surfaces: Sequence[ObjMaterial], of_face: np.ndarray, corner_uv: np.ndarray, notes: Notes) -> None:
    """Notes each texture that no face (F,) of its material has coordinates (F, 3, 2) for."""
    for index in np.unique(of_face).tolist():
        if surfaces[index].material.texture is not None and not np.isfinite(corner_uv[of_face == index]).any():
            notes.add("a texture has no coordinates on the faces of its material: they keep their plain colour")


def _collect(payload: bytes) -> _Content:
    content = _Content()
    current = 0
    for keyword, rest in statements(payload):
        if keyword == b"v":
            content.vertices.append(numbers_only(rest) if b"#" in rest else rest)
        elif keyword == b"vt":
            content.uvs.append(numbers_only(rest) if b"#" in rest else rest)
        elif keyword in (b"f", b"fo"):
            line = numbers_only(rest) if b"#" in rest else rest
            corners = line.split()
            if len(corners) < 3:
                content.slender += 1
            else:
                group = content.faces.setdefault((len(corners), _style(corners[0])), _Faces())
                group.lines.append(line)
                group.materials.append(current)
                group.known.append((len(content.vertices), len(content.uvs)))
        elif keyword == b"usemtl":
            current = content.materials.setdefault(rest, len(content.materials))
        elif keyword == b"mtllib":
            content.libraries.append(rest)
        elif keyword == b"surf":
            content.surfaces += 1
        elif keyword in (b"p", b"l"):
            content.loose = True
    return content


def _materials(store: FileStore, name: str, content: _Content, of_face: np.ndarray, notes: Notes) -> list[ObjMaterial]:
    """The material of each number. Those without faces are not looked for."""
    used = np.unique(of_face).tolist()
    names = list(content.materials)
    looked_up = materials_of(store, name, content.libraries, [names[index] for index in used], notes)
    if all(surface.material.color[3] < INVISIBLE for surface in looked_up):
        notes.add("all its materials are invisible: they are read as opaque")
        looked_up = [opaque(surface) for surface in looked_up]
    surfaces = [ObjMaterial(described=False)] * len(names)
    for index, surface in zip(used, looked_up, strict=True):
        surfaces[index] = surface
    return surfaces


def _placed(corner_uv: np.ndarray, of_face: np.ndarray, surfaces: list[ObjMaterial]) -> np.ndarray:
    """Coordinates (F, 3, 2) in the pictures of their materials, float32."""
    for index, surface in enumerate(surfaces):
        if surface.place != replace(surface.place, scale=(1.0, 1.0), offset=(0.0, 0.0)):
            chosen = of_face == index
            corner_uv[chosen] = surface.place.of(corner_uv[chosen])
    with np.errstate(over="ignore"):  # infinite ones count as none
        return corner_uv.astype(np.float32)


def _style(corner: bytes) -> bytes:
    """Style of a reference by its slashes: b"", b"/", b"//" or b"/x/"."""
    parts = corner.split(b"/")
    return b"" if len(parts) == 1 else b"/" if len(parts) == 2 else b"/x/" if parts[1] else b"//"


def _numbers(lines: list[bytes], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Values (len(lines), width), 0 where a line has fewer words, and how many it has (at most width).

    AssetError for what is no number.
    """
    words = [line.split() for line in lines]
    counts = np.array([len(row) for row in words])
    values = np.zeros((len(lines), width))
    try:
        if (counts == counts[0]).all() and counts[0] > 0:
            try:
                flat = np.array(b" ".join(lines).split()).astype(np.float64).reshape(len(lines), -1)
                values[:, : counts[0]] = flat[:, :width]
                return values, np.minimum(counts, width)
            except ValueError:  # other ways to write a number
                pass
        for index, row in enumerate(words):
            values[index, : len(row)] = [number(word) for word in row[:width]]
    except ValueError as error:
        raise AssetError(f"a coordinate is not a number ({odd_word(error)}); export the mesh again.") from error
    return values, np.minimum(counts, width)


def _parse_corners(group: _Faces, count: int, style: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Zero-based vertex and coordinate numbers (M, n) of a group; coordinate -1 where a corner has none."""
    per_corner = {b"": 1, b"/": 2, b"//": 2, b"/x/": 3}[style]
    text = b" ".join(group.lines)
    try:
        flat = np.array(text.replace(b"/", b" ").split()).astype(np.int64)
        if len(flat) == len(group.lines) * count * per_corner and text.count(b"/") == (
            len(group.lines) * count * len(style.replace(b"x", b""))
        ):
            numbers = flat.reshape(len(group.lines), count, per_corner)
            vertex = numbers[..., 0]
            uv = numbers[..., 1] if style in (b"/", b"/x/") else np.zeros_like(vertex)
        else:  # corners of different styles inside a face
            split = [[[*corner.split(b"/"), b""] for corner in line.split()] for line in group.lines]
            vertex = np.array([[int(parts[0]) for parts in row] for row in split])
            uv = np.array([[int(parts[1] or 0) for parts in row] for row in split])
    except (ValueError, OverflowError) as error:
        raise AssetError(f"a face cannot be read ({odd_word(error)}); export the mesh again.") from error
    known = np.array(group.known)
    vertex = np.where(vertex < 0, vertex + known[:, :1], vertex - 1)  # negative: counted back from the line's place
    return vertex, np.where(uv < 0, uv + known[:, 1:], uv - 1)


def _look_up(uvs: np.ndarray, index: np.ndarray) -> np.ndarray:
    """uvs (Q, 2) at index (M, n), NaN where the index is outside."""
    padded = np.concatenate([uvs, [[np.nan, np.nan]]])
    return padded[np.where((index >= 0) & (index < len(uvs)), index, len(uvs))]
