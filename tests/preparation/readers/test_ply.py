"""PLY: every way in which colours, textures and polygons are written, and files that lie."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from tests.preparation.make import LIMITS, png

from fieldforge.geometry.mesh import Mesh
from fieldforge.readers.file_store import AssetError, FolderStore, Notes
from fieldforge.readers.limits import Limits
from fieldforge.readers.load import load_mesh

SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (2, 0, 0)]
RED, GREEN = (255, 0, 0, 255), (0, 255, 0, 255)


def ascii_ply(
    vertex: str = "",
    values: list[str] | None = None,
    face: str = "",
    faces: str = "4 0 1 2 3\n3 1 4 2\n",
    head: str = "",
) -> bytes:
    """A square and a triangle beside it: further properties of vertices and faces with their values a row."""
    rows = values or [""] * len(SQUARE)
    body = "".join(f"{x} {y} {z} {more}\n" for (x, y, z), more in zip(SQUARE, rows, strict=True))
    count = len(faces.splitlines())
    return (
        f"ply\nformat ascii 1.0\n{head}element vertex 5\nproperty float x\nproperty float y\nproperty float z\n{vertex}"
        f"element face {count}\nproperty list uchar int vertex_indices\n{face}end_header\n{body}{faces}"
    ).encode()


def load(folder: Path, payload: bytes, limits: Limits = LIMITS) -> tuple[Mesh, list[str]]:
    (folder / "a.ply").write_bytes(payload)
    notes = Notes([])
    return load_mesh(FolderStore(folder, LIMITS.max_file_bytes), "a.ply", limits, notes), notes.texts


def colors(mesh: Mesh) -> set[tuple[int, ...]]:
    """Colours 0…255 in the middle of the faces."""
    middle = mesh.color_at(np.arange(len(mesh.faces)), np.full((len(mesh.faces), 3), 1 / 3))
    return {tuple(row) for row in np.round(middle * 255).astype(int).tolist()}


def vertex_properties(kind: str, names: str) -> str:
    return "".join(f"property {kind} {name}\n" for name in names.split())


@pytest.mark.parametrize(
    ("kind", "names", "value"),
    [
        ("uchar", "red green blue", "255 0 0"),
        ("uchar", "red green blue alpha", "255 0 0 255"),
        ("char", "red green blue", "-1 0 0"),
        ("uchar", "diffuse_red diffuse_green diffuse_blue", "255 0 0"),
        ("uchar", "r g b", "255 0 0"),
        ("ushort", "red green blue", "65535 0 0"),
        ("int", "red green blue", "255 0 0"),
        ("float", "red green blue", "1 0 0"),
        ("float", "r g b a", "1 0 0 1"),
        ("float", "Red Green Blue", "255 0 0"),
        ("uchar", "specular_red specular_green specular_blue ambient_red ambient_green ambient_blue", "0 0 9 255 0 0"),
        ("uchar", "red_8 green_8 blue_8", "255 0 0"),
    ],
)
def test_vertex_colours_by_every_name_and_type(tmp_path: Path, kind: str, names: str, value: str):
    mesh, notes = load(tmp_path, ascii_ply(vertex_properties(kind, names), [value] * 5))
    assert colors(mesh) == {RED}
    assert not notes


@pytest.mark.parametrize(
    ("vertex", "face", "value", "name"),
    [
        ("property uint rgb\n", "", "16711680", "rgb"),
        ("property list uchar uchar vertex_color\n", "", "3 255 0 0", "vertex_color"),
        ("", "property list uchar float color\n", " 9" + 9 * " 0.5", "color"),  # of each corner, as MeshLab writes it
    ],
)
def test_colours_that_are_not_read_are_noted(tmp_path: Path, vertex: str, face: str, value: str, name: str):
    faces = f"3 0 1 2{value if face else ''}\n"
    _, notes = load(tmp_path, ascii_ply(vertex, [value if vertex else ""] * 5, face, faces))
    assert notes == [f"its colours are written in a way that is not read ('{name}'): they are left out"]


def test_alpha_of_zero_everywhere_is_not_meant_and_a_partial_one_is(tmp_path: Path):
    names = vertex_properties("uchar", "red green blue alpha")
    mesh, notes = load(tmp_path, ascii_ply(names, ["255 0 0 0"] * 5))
    assert colors(mesh) == {RED}
    assert "alpha of 0" in notes[0]
    mesh, notes = load(tmp_path, ascii_ply(names, ["255 0 0 51"] * 5))
    assert colors(mesh) == {(255, 0, 0, 51)}
    assert not notes


def test_colours_of_faces_and_of_materials(tmp_path: Path):
    face = vertex_properties("uchar", "red green blue")
    mesh, _ = load(tmp_path, ascii_ply(face=face, faces="4 0 1 2 3 255 0 0\n3 1 4 2 0 255 0\n"))
    assert [tuple(c) for c in np.round(mesh.corner_colors[:, 0] * 255).astype(int).tolist()] == [RED, RED, GREEN]
    payload = ascii_ply(face="property int material_index\n", faces="4 0 1 2 3 1\n3 1 4 2 0\n").replace(
        b"end_header", b"element material 2\n" + vertex_properties("uchar", "red green blue").encode() + b"end_header"
    )
    mesh, _ = load(tmp_path, payload + b"0 255 0\n255 0 0\n")
    assert [tuple(c) for c in np.round(mesh.corner_colors[:, 0] * 255).astype(int).tolist()] == [RED, RED, GREEN]


PICTURE = np.zeros((4, 4, 4), np.uint8)
PICTURE[...] = (0, 255, 0, 0)  # its alpha says nothing
PICTURE[2:, :2] = RED  # lower left


@pytest.mark.parametrize("names", ["s t", "u v", "texture_u texture_v"])
def test_texture_by_coordinates_of_vertices_replaces_their_colours(tmp_path: Path, names: str):
    (tmp_path / "my tex.png").write_bytes(png(PICTURE))
    vertex = vertex_properties("float", names) + vertex_properties("uchar", "red green blue")
    mesh, notes = load(
        tmp_path, ascii_ply(vertex, ["0.25 0.25 9 9 9"] * 5, head="comment TextureFile C:\\work\\my tex.png\n")
    )
    assert colors(mesh) == {RED}
    assert not notes


def test_textures_by_coordinates_of_faces_and_their_number(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(png(np.full((2, 2, 3), RED[:3], np.uint8)))
    (tmp_path / "b.png").write_bytes(png(np.full((2, 2, 3), GREEN[:3], np.uint8)))
    mesh, notes = load(
        tmp_path,
        ascii_ply(
            face="property list uchar float texcoord\nproperty int texnumber\n",
            faces="4 0 1 2 3 8 0 0 1 0 1 1 0 1 0\n3 1 4 2 6 0 0 1 0 1 1 1\n3 0 1 2 0 -1\n",
            head="comment texturefile a.png\ncomment TextureFile b.png\n",
        ),
    )
    assert mesh.face_material.tolist() == [1, 1, 2, 0]
    assert colors(mesh) == {RED, GREEN, (204, 204, 204, 255)}
    np.testing.assert_array_equal(mesh.corner_uv[0], [[0, 0], [1, 0], [1, 1]])
    assert not notes


@pytest.mark.parametrize(
    ("vertex", "values", "head", "note"),
    [
        (
            "property float s\nproperty float t\n",
            ["0 0"] * 5,
            "comment TextureFile lost.png\n",
            "'lost.png' is missing",
        ),
        ("property float s\nproperty float t\n", ["0 0"] * 5, "comment TextureFile a.ply\n", "cannot be read"),
        ("property float s\nproperty float t\n", ["0 0"] * 5, "", "names no texture"),
        ("", None, "comment TextureFile a.png\n", "has no coordinates"),
        ("", None, "comment TextureFile ../../etc/passwd\n", "has no coordinates"),
    ],
)
def test_a_lost_texture_is_noted(tmp_path: Path, vertex: str, values: list[str] | None, head: str, note: str):
    mesh, notes = load(tmp_path, ascii_ply(vertex, values, head=head))
    assert colors(mesh) == {(204, 204, 204, 255)}
    assert note in " ".join(notes)


def binary(order: str, rows: Callable[[str], bytes]) -> bytes:
    word = {"<": "little", ">": "big"}[order]
    return (
        f"ply\r\nformat binary_{word}_endian 1.0\r\nobj_info made by hand\r\nelement vertex 5\r\n"
        "property double x\r\nproperty double y\r\nproperty double z\r\nproperty uchar flags\r\n"
        "element camera 1\r\nproperty list ushort double pose\r\n"
        "element face 3\r\nproperty uchar flags\r\nproperty list uchar uint vertex_index\r\n"
        "property list int float q\r\n"
        "end_header\r\n"
    ).encode() + rows(order)


def mixed_rows(order: str) -> bytes:
    body = b"".join(struct.pack(f"{order}dddB", *corner, 7) for corner in SQUARE)
    body += struct.pack(f"{order}Hdd", 2, 0.5, 0.5)
    body += struct.pack(f"{order}BB4Iif", 1, 4, 0, 1, 2, 3, 1, 0.5)
    body += struct.pack(f"{order}BB3Ii", 1, 3, 1, 4, 2, 0)
    return body + struct.pack(f"{order}BB4Iiff", 1, 4, 0, 1, 2, 3, 2, 0.5, 0.5)


@pytest.mark.parametrize("order", ["<", ">"])
def test_polygons_mixed_in_binary_among_other_elements(tmp_path: Path, order: str):
    mesh, notes = load(tmp_path, binary(order, mixed_rows))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [1, 4, 2], [0, 1, 2], [0, 2, 3]]
    np.testing.assert_array_equal(mesh.vertices, SQUARE)
    assert not notes


def test_strips_turn_every_second_triangle_and_begin_anew_at_minus_one(tmp_path: Path):
    strip = "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    payload = ascii_ply(faces="").split(b"element face")[0].decode() + strip
    payload += "".join(f"{x} {y} {z}\n" for x, y, z in SQUARE) + "11 0 1 3 2 4 -1 1 4 2 -1 0\n"
    mesh, notes = load(tmp_path, payload.encode())
    assert mesh.faces.tolist() == [[0, 1, 3], [3, 1, 2], [3, 2, 4], [1, 4, 2]]
    assert not notes


def test_as_trimesh_reads_what_it_can(tmp_path: Path):
    shape = trimesh.creation.icosphere(2)
    shape.visual.vertex_colors = np.random.default_rng(0).integers(0, 256, (len(shape.vertices), 4), np.uint8)
    for encoding in ("ascii", "binary"):
        mesh, _ = load(tmp_path, trimesh.exchange.ply.export_ply(shape, encoding=encoding, vertex_normal=True))
        np.testing.assert_allclose(mesh.vertices, shape.vertices, atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, shape.faces)
        np.testing.assert_allclose(mesh.corner_colors * 255, shape.visual.vertex_colors[shape.faces], atol=1e-4)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (ascii_ply()[:-4], "ends within its element 'face'"),
        (binary("<", mixed_rows)[:-1], "ends within its element 'face'"),
        (binary("<", mixed_rows)[:-80], "ends within its element"),
        (ascii_ply().replace(b"vertex 5", b"vertex 99999999999"), "ends within its element 'vertex'"),
        (ascii_ply().replace(b"face 2", b"face 3"), "ends within its element 'face'"),
        (ascii_ply().replace(b"face 2", b"face 200000"), "announces 200,000 triangles"),
        (
            ascii_ply(faces="").replace(b"element face 0\nproperty list uchar int vertex_indices\n", b""),
            "points and no faces",
        ),
        (ascii_ply(faces="3 0 1 7\n"), "names vertex 7"),
        (ascii_ply(faces="3 0 1 nan\n"), "names vertex"),
        (ascii_ply(faces="2 0 1\n"), "holds no faces"),
        (ascii_ply().replace(b"float x", b"float16 x"), "header holds 'property float16 x'"),
        (ascii_ply().replace(b"format ascii 1.0\n", b""), "names no format"),
        (ascii_ply().replace(b"1 0 0", b"1,0 0 0"), "something else than numbers"),
        (ascii_ply().replace(b" x\n", b" px\n"), "no x, y and z"),
        (b"solid", "does not begin with ply"),
        (b"ply\nformat ascii 1.0\n", "header has no end"),
    ],
)
def test_files_that_lie_are_rejected_by_a_sentence(tmp_path: Path, payload: bytes, reason: str):
    with pytest.raises(AssetError, match=reason):
        load(tmp_path, payload)


def test_what_stands_behind_the_announced_is_noted(tmp_path: Path):
    _, notes = load(tmp_path, ascii_ply() + b"3 0 1 2\n")
    assert "4 numbers stand behind" in notes[0]
    _, notes = load(tmp_path, ascii_ply(faces="3 0 1 2\n2 0 1\n"))
    assert "1 of 2 faces have fewer than three corners" in notes[0]


def test_a_comment_may_speak_of_the_header(tmp_path: Path):
    mesh, _ = load(tmp_path, ascii_ply(head="comment the end_header follows below\n"))
    assert len(mesh.faces) == 3
