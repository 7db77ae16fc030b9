"""Wavefront OBJ + MTL as real libraries write them: mixed polygons, missing coordinates, lost textures.

General loaders drop all texture coordinates of a material when one face lacks them, as happens; hence our own.
"""

import io
import logging
import warnings
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from fieldforge.geometry.mesh import Material, Mesh
from fieldforge.preparation.polygons import triangulate
from fieldforge.preparation.stores import AssetError, FileStore, Notes, normal_member

log = logging.getLogger(__name__)

MAX_TEXTURE_PIXELS = 2**26
"""A picture of more pixels is not unpacked."""

MAX_TEXTURE_SIDE = 1024
"""Bigger textures are reduced: a texel is then still finer than the samples taken."""


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
            current = material_names.setdefault(_text(rest), len(material_names))
        elif keyword == b"mtllib":
            libraries.append(_text(rest))
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
    known = _read_libraries(store, folder, libraries, notes)
    return Mesh(
        vertices,
        all_faces,
        materials=tuple(known.get(material, Material()) for material in material_names),
        face_material=np.concatenate(face_materials),
        corner_uv=np.concatenate(corner_uvs).astype(np.float32) if len(uvs) else None,
        corner_colors=None if vertex_colors is None else vertex_colors[all_faces],
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape").strip()


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


def _read_libraries(store: FileStore, folder: str, libraries: list[str], notes: Notes) -> dict[str, Material]:
    """Materials by name over all MTL files that can be found; a missing file is noted, its faces stay plain."""
    known: dict[str, Material] = {}
    for library in libraries:
        payload = read_beside(store, folder, library)
        if payload is None:
            notes.add(f"the material file '{library}' is missing: its faces are plain grey")
        else:
            known.update(parse_mtl(payload, store, folder, notes))
    return known


def read_beside(store: FileStore, folder: str, reference: str) -> bytes | None:
    """A file that an asset refers to, relative to the asset's folder, or beside it where the path is another machine's.

    None if it is not there. Paths never leave the store.
    """
    base = reference.replace("\\", "/").rpartition("/")[2]
    for candidate in dict.fromkeys((reference.replace("\\", "/"), base)):
        try:
            return store.read(normal_member(f"{folder}/{candidate}" if folder else candidate))
        except AssetError as error:
            log.debug("%s", error)
    return None


def parse_mtl(payload: bytes, store: FileStore, folder: str, notes: Notes) -> dict[str, Material]:
    """Kd, d / Tr and map_Kd of each material. A missing or damaged texture is noted; its faces then keep Kd."""
    found: dict[str, Material] = {}
    name, color, alpha, texture = "", (0.8, 0.8, 0.8), 1.0, None
    for line in [*payload.splitlines(), b"newmtl"]:
        keyword, _, rest = line.strip().partition(b" ")
        words = rest.split()
        if keyword == b"newmtl":
            if name:
                found[name] = Material((*color, alpha), texture, (1.0, 1.0, 1.0, alpha))
            name, color, alpha, texture = _text(rest), (0.8, 0.8, 0.8), 1.0, None
        elif keyword == b"Kd" and len(words) >= 3:
            color = tuple(_unit(word) for word in words[:3])  # type: ignore[assignment]
        elif keyword == b"d" and words:
            alpha = _unit(words[-1])  # the last: "d -halo 0.5"
        elif keyword == b"Tr" and words:
            alpha = 1 - _unit(words[-1])
        elif keyword == b"map_Kd" and words:
            texture = _load_texture(store, folder, _text(rest), _text(words[-1]), notes)
    return found


def _unit(word: bytes) -> float:
    try:
        return float(np.clip(float(word), 0, 1)) if np.isfinite(float(word)) else 1.0
    except ValueError:
        raise AssetError(f"a material value '{_text(word)}' is not a number; export the materials again.") from None


def _load_texture(store: FileStore, folder: str, reference: str, last_word: str, notes: Notes) -> np.ndarray | None:
    for candidate in dict.fromkeys((reference, last_word)):  # options may stand before the name: "-s 1 1 1 wood.jpg"
        payload = read_beside(store, folder, candidate)
        if payload is not None:
            try:
                return decode_texture(payload)
            except AssetError as error:
                notes.add(f"texture '{candidate}': {error}")
                return None
    notes.add(f"the texture '{reference}' is missing: its faces keep their plain colour")
    return None


def decode_texture(payload: bytes) -> np.ndarray:
    """uint8 (H, W, 4) of a picture, at most MAX_TEXTURE_SIDE wide and high. AssetError if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(payload)) as picture:
                picture.draft("RGB", (MAX_TEXTURE_SIDE, MAX_TEXTURE_SIDE))
                return texture_array(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise AssetError(f"the texture cannot be read ({error}); save it again.") from error


def texture_array(picture: Image.Image) -> np.ndarray:
    """uint8 (H, W, 4) of a picture, at most MAX_TEXTURE_SIDE wide and high. AssetError if it is too big or damaged."""
    width, height = picture.size
    if width * height > MAX_TEXTURE_PIXELS:
        raise AssetError(f"the texture has {width} x {height} pixels, which is too many; make it smaller.")
    try:
        rgba = picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        raise AssetError(f"the texture cannot be read ({error}); save it again.") from error
    if max(rgba.size) > MAX_TEXTURE_SIDE:
        rgba.thumbnail((MAX_TEXTURE_SIDE, MAX_TEXTURE_SIDE), Image.Resampling.BOX)
    return np.asarray(rgba)
