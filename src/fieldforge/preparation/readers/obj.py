"""Wavefront OBJ + MTL as real libraries write them: mixed polygons, missing coordinates, lost textures.

General loaders drop all texture coordinates of a material when one face lacks them, as happens; hence our own.
"""

from dataclasses import dataclass, field

import numpy as np

from fieldforge.geometry.mesh import Material, Mesh
from fieldforge.preparation.readers.mtl import read_libraries, text_of
from fieldforge.preparation.readers.polygons import triangulate
from fieldforge.preparation.stores import AssetError, FileStore, Notes


@dataclass
class _Faces:
    """Faces of one corner count and one style of reference (`v`, `v/t`, `v//n`, `v/t/n`), in file order."""

    lines: list[bytes] = field(default_factory=list)
    materials: list[int] = field(default_factory=list)
    known: list[tuple[int, int]] = field(default_factory=list)  # vertices and coordinates read so far


def load_obj(store: FileStore, name: str, notes: Notes) -> Mesh:
    """Mesh of an OBJ file with the materials of its MTL files. AssetError with the reason if it cannot be used."""
    vertex_lines: list[bytes] = []
    uv_lines: list[bytes] = []
    groups: dict[tuple[int, bytes], _Faces] = {}
    material_names: dict[str, int] = {"": 0}
    libraries: list[str] = []
    current = 0
    for line in store.read(name).replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").splitlines():
        keyword, _, rest = line.strip().partition(b" ")
        if keyword == b"v":
            vertex_lines.append(rest)
        elif keyword == b"vt":
            uv_lines.append(rest)
        elif keyword == b"f":
            corners = rest.split()
            if len(corners) > 2:
                group = groups.setdefault((len(corners), _style(corners[0])), _Faces())
                group.lines.append(rest)
                group.materials.append(current)
                group.known.append((len(vertex_lines), len(uv_lines)))
        elif keyword == b"usemtl":
            current = material_names.setdefault(text_of(rest), len(material_names))
        elif keyword == b"mtllib":
            libraries.append(text_of(rest))
    if not vertex_lines or not groups:
        raise AssetError("the file holds no faces; export the mesh again.")
    vertices, vertex_colors = _parse_vertices(vertex_lines)
    uvs = _parse_floats(uv_lines, 2) if uv_lines else np.empty((0, 2))

    faces, corner_uvs, face_materials = [], [], []
    for (count, style), group in groups.items():
        corner_vertices, corner_uv = _parse_corners(group, count, style)  # each (M, n), -1 where absent
        if corner_vertices.min() < 0 or corner_vertices.max() >= len(vertices):
            raise AssetError("a face refers to a vertex that is not in the file; export the mesh again.")
        cut = triangulate(vertices[corner_vertices])  # (M, n - 2, 3)
        rows = np.arange(len(cut))[:, None, None]
        faces.append(corner_vertices[rows, cut].reshape(-1, 3))
        corner_uvs.append(_look_up(uvs, corner_uv)[rows, cut].reshape(-1, 3, 2))
        face_materials.append(np.repeat(group.materials, count - 2))
    all_faces = np.concatenate(faces)
    folder = name.rpartition("/")[0]
    known = read_libraries(store, folder, libraries, notes)
    return Mesh(
        vertices,
        all_faces,
        materials=tuple(known.get(material, Material()) for material in material_names),
        face_material=np.concatenate(face_materials),
        corner_uv=np.concatenate(corner_uvs).astype(np.float32) if len(uvs) else None,
        corner_colors=None if vertex_colors is None else vertex_colors[all_faces],
    )


def _style(corner: bytes) -> bytes:
    """Where the slashes are: b"", b"/", b"//" or b"/x/"."""
    parts = corner.split(b"/")
    return b"" if len(parts) == 1 else b"/" if len(parts) == 2 else b"/x/" if parts[1] else b"//"


def _parse_floats(lines: list[bytes], width: int) -> np.ndarray:
    """(len(lines), width); words beyond `width` are ignored, missing ones are 0. AssetError for what is no number."""
    words = [line.split() for line in lines]
    try:
        if len({len(row) for row in words}) == 1 and len(words[0]) >= width:
            return np.array(b" ".join(lines).split()).astype(np.float64).reshape(len(lines), -1)[:, :width]
        return np.array([[float(word) for word in (row + [b"0"] * width)[:width]] for row in words])
    except ValueError as error:
        raise AssetError(f"a coordinate is not a number ({error}); export the mesh again.") from error


def _parse_vertices(lines: list[bytes]) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions (P, 3) and, where a file has six numbers in each line, colours (P, 4)."""
    if all(len(line.split()) >= 6 for line in lines[:1] + lines[-1:]):
        values = _parse_floats(lines, 6)
        colors = values[:, 3:] / (255 if values[:, 3:].max() > 1 else 1)
        return values[:, :3], np.concatenate([colors, np.ones((len(colors), 1))], axis=1).astype(np.float32)
    return _parse_floats(lines, 3), None


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
    except ValueError as error:
        raise AssetError(f"a face cannot be read ({error}); export the mesh again.") from error
    known = np.array(group.known)
    vertex = np.where(vertex < 0, vertex + known[:, :1], vertex - 1)  # negative: counted back from the line's place
    return vertex, np.where(uv < 0, uv + known[:, 1:], uv - 1)


def _look_up(uvs: np.ndarray, index: np.ndarray) -> np.ndarray:
    """uvs (Q, 2) at index (M, n), NaN where the index is outside."""
    padded = np.concatenate([uvs, [[np.nan, np.nan]]])
    return padded[np.where((index >= 0) & (index < len(uvs)), index, len(uvs))]
