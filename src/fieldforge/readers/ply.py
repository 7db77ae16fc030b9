"""Meshes of PLY files: polygons and strips; colours of vertices, faces and materials; textures."""

import re
from pathlib import PurePosixPath

import numpy as np

from fieldforge.geometry.mesh import Material, Mesh
from fieldforge.readers.beside import read_beside
from fieldforge.readers.faces import Polygons, Triangles, cut, strips
from fieldforge.readers.file_store import AssetError, FileStore, Notes
from fieldforge.readers.limits import Limits, check_announced
from fieldforge.readers.ply_file import Column, Columns, Header, read_elements, read_header
from fieldforge.readers.rgba import full_scale, unit_rgba
from fieldforge.readers.texture import decode_texture

INDICES = ("vertex_indices", "vertex_index", "vertex_indexes")
COLORS = (
    ("red", "green", "blue", "alpha"),
    ("diffuse_red", "diffuse_green", "diffuse_blue", "diffuse_alpha"),
    ("r", "g", "b", "a"),
)
COORDINATES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
PLAIN, WHITE = Material(), Material((1.0, 1.0, 1.0, 1.0))


def read_ply(store: FileStore, name: str, limits: Limits, notes: Notes) -> Mesh:
    """Mesh of a PLY file. AssetError with the reason if it cannot be used.

    A texture (`comment TextureFile`) replaces the colours of the faces that have coordinates in it. Colours of faces
    count where vertices have none, or all the same one. Every opacity of a texture is opaque: PLY has no word for more.
    """
    payload = store.read(name)
    header = read_header(payload)
    check_announced(header.count("face"), limits)
    elements, left = read_elements(payload, header)
    if left:
        what = "bytes" if header.order else "numbers"
        notes.add(f"{left:,} {what} stand behind what its header announces: they are left out")
    columns = elements.get("vertex", {})
    vertices = _vertices(columns)
    face = elements.get("face", {})
    polygons, of_faces = _polygons(elements, notes)
    triangles = cut(polygons, vertices, notes)
    colors = _corner_colors(elements, triangles, of_faces, notes)
    uv, number = _corner_uv(columns, face if of_faces else {}, polygons, triangles, notes)
    materials = _materials(store, name.rpartition("/")[0], header, uv is not None, colors is not None, notes)
    material = np.zeros(len(triangles.faces), np.int64)  # 0: without a texture
    if uv is not None and len(materials) > 1:
        textured = np.isfinite(uv).all(axis=(1, 2)) & (number >= 0) & (number < len(materials) - 1)
        textured &= np.array([each.texture is not None for each in materials])[np.where(textured, number + 1, 0)]
        material = np.where(textured, number + 1, 0)
        if colors is not None:
            colors = np.where(textured[:, None, None], np.float32(1), colors)
    return Mesh(vertices, triangles.faces, materials, material, uv, colors)


def _vertices(columns: Columns) -> np.ndarray:
    if not all(axis in columns and columns[axis].counts is None for axis in "xyz"):
        raise AssetError("its vertices have no x, y and z; export the mesh again.")
    return np.stack([columns[axis].values.astype(np.float64) for axis in "xyz"], axis=1)


def _polygons(elements: dict[str, Columns], notes: Notes) -> tuple[Polygons, bool]:
    """The faces, and whether they are the rows of the element `face`; else they come from strips."""
    for element in ("face", "tristrips", "tristrip"):
        columns = elements.get(element, {})
        column = next((columns[key] for key in INDICES if key in columns), None)
        if column is not None and column.counts is not None and len(column.counts):
            numbers = _whole_numbers(column)
            if element == "face":
                return Polygons(column.counts, numbers), True
            return strips(column.counts, numbers), False
    raise AssetError("the file holds points and no faces; make a surface of them, or export the mesh again.")


def _rgba(columns: Columns, notes: Notes) -> np.ndarray | None:
    """Colours (N, 4) of an element's rows, under whichever of the usual names, also with a prefix ("ambient_red")."""
    single = {name: column for name, column in columns.items() if column.counts is None}
    others = [name for name in single if "red" in name and "specular" not in name]
    for names in (*COLORS, *(tuple(name.replace("red", color) for color in COLORS[0]) for name in others)):
        channels = [single[key] for key in names if key in single]
        if len(channels) >= 3 and all(key in single for key in names[:3]):
            scale = full_scale(np.concatenate([_numbers(each) for each in channels[:3]]))
            rgb = np.stack([_unit(each, scale) for each in channels[:3]], axis=1)
            alpha = _unit(channels[3], full_scale(_numbers(channels[3]))) if len(channels) > 3 else None
            return unit_rgba(rgb, alpha, notes)
    unread = [name for name in columns if re.search("rgb|colou?r", name)]
    if unread:
        notes.add(f"its colours are written in a way that is not read ('{unread[0]}'): they are left out")
    return None


def _unit(column: Column, scale: float) -> np.ndarray:
    return _numbers(column) / (255 if column.kind in ("u1", "i1") else scale)


def _numbers(column: Column) -> np.ndarray:
    """Values as float64; negative signed bytes mean values above 127."""
    values = column.values.astype(np.float64)
    return np.where(values < 0, values + 256, values) if column.kind == "i1" else values


def _whole_numbers(column: Column) -> np.ndarray:
    """Values as int64; -1 for a value that is no whole number."""
    values = column.values
    if values.dtype.kind == "f":
        values = np.where(np.abs(values) < 2**53, values, -1)
    return values.astype(np.int64)


def _corner_colors(
    elements: dict[str, Columns], triangles: Triangles, of_faces: bool, notes: Notes
) -> np.ndarray | None:
    """Colours (T, 3, 4) of corners. Material numbers stand for colours of the element `material`."""
    of_material = _rgba(elements.get("material", {}), notes)

    def colors_of(columns: Columns) -> np.ndarray | None:
        number = columns.get("material_index")
        if of_material is None or number is None or not len(of_material):
            return _rgba(columns, notes)
        return of_material[np.clip(_whole_numbers(number), 0, len(of_material) - 1)]

    of_vertex, of_face = colors_of(elements.get("vertex", {})), colors_of(elements["face"]) if of_faces else None
    if of_face is not None and (of_vertex is None or (of_vertex == of_vertex[:1]).all()):
        return np.repeat(of_face[triangles.polygon][:, None], 3, axis=1)
    return None if of_vertex is None else of_vertex[triangles.faces]


def _corner_uv(
    vertex: Columns, face: Columns, polygons: Polygons, triangles: Triangles, notes: Notes
) -> tuple[np.ndarray | None, np.ndarray]:
    """Texture coordinates (T, 3, 2) of corners, v up, NaN where there are none; each face's texture number (T,)."""
    number = face.get("texnumber")
    of_face = np.zeros(len(triangles.faces), np.int64)
    if number is not None and number.counts is None:
        of_face = _whole_numbers(number)[triangles.polygon]
    listed = face.get("texcoord") or face.get("texcoords") or face.get("texture_coordinates")
    if listed is not None and listed.counts is not None and len(listed.values):
        return _listed_uv(listed, polygons, notes)[triangles.corner], of_face
    for names in COORDINATES:
        pair = [vertex[key] for key in names if key in vertex]
        if len(pair) == 2 and all(column.counts is None for column in pair):
            uv = np.stack([column.values.astype(np.float32) for column in pair], axis=1)
            return uv[triangles.faces], of_face
    return None, of_face


def _listed_uv(listed: Column, polygons: Polygons, notes: Notes) -> np.ndarray:
    """Coordinates (C, 2) of all corners of polygons, from lists of two numbers a corner."""
    assert listed.counts is not None
    whole = listed.counts == 2 * polygons.counts
    missing = int((~whole & (listed.counts > 0)).sum())
    if missing:
        notes.add(f"the texture coordinates of {missing:,} faces do not fit their corners: these keep plain colours")
    uv = np.full((len(polygons.corners), 2), np.nan, np.float32)
    uv[np.repeat(whole, polygons.counts)] = listed.values[np.repeat(whole, listed.counts)].reshape(-1, 2)
    return uv


def _materials(
    store: FileStore, folder: str, header: Header, has_uv: bool, has_colors: bool, notes: Notes
) -> tuple[Material, ...]:
    """The material of faces without a texture, then a material for each texture that the comments name."""
    untextured = WHITE if has_colors else PLAIN
    names = [
        match[1].strip().strip("\"'")
        for comment in header.comments
        if (match := re.match(r"texturefile\s+(.+)", comment, re.IGNORECASE))
    ]
    if has_uv != bool(names):
        notes.add(
            f"the texture '{names[0]}' has no coordinates on its faces: they keep their plain colour"
            if names
            else "it has texture coordinates but names no texture: its faces keep their plain colour"
        )
        return (untextured,)
    return (untextured, *(_textured(store, folder, texture, untextured, notes) for texture in names))


def _textured(store: FileStore, folder: str, reference: str, untextured: Material, notes: Notes) -> Material:
    payload = read_beside(store, folder, reference)
    if payload is None:
        name = PurePosixPath(reference.replace("\\", "/")).name
        notes.add(f"the texture '{name}' is missing: its faces keep their plain colour")
        return untextured
    try:
        texture = decode_texture(payload).copy()
    except AssetError as error:
        notes.add(f"texture '{reference}': {error}")
        return untextured
    texture[..., 3] = 255
    return Material((1.0, 1.0, 1.0, 1.0), texture)
