"""OBJ and MTL files as they come: every style of face, materials, textures, references that lead elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from tests.preparation.make import LIMITS, png, write_zip

from fieldforge.geometry.mesh import Mesh
from fieldforge.readers.file_store import AssetError, FolderStore, Notes, ZipStore
from fieldforge.readers.obj import read_obj
from fieldforge.readers.polygons import triangulate
from fieldforge.readers.texture import MAX_TEXTURE_SIDE

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
RED = np.tile(np.uint8([255, 0, 0, 255]), (2, 2, 1))
CENTRE = np.full((1, 3), 1 / 3)


@pytest.fixture
def notes() -> Notes:
    return Notes([])


def load(folder: Path, text: str, notes: Notes) -> Mesh:
    (folder / "a.obj").write_text(text)
    return read_obj(FolderStore(folder, 2**24), "a.obj", LIMITS, notes)


def color_of(mesh: Mesh, face: int = 0) -> list[float]:
    return [round(float(value), 3) for value in mesh.color_at(np.array([face]), CENTRE)[0]]


@pytest.mark.parametrize(
    "face",
    [
        "f 1 2 3 4",
        "f 1/1 2/2 3/3 4/4",
        "f 1//1 2//1 3//1 4//1",
        "f 1/1/1 2/2/1 3/3/1 4/4/1",
        "f -4 -3 -2 -1",
        "f 1 2/2 3//1 4",
    ],
)
def test_every_style_of_face(tmp_path: Path, notes: Notes, face: str):
    mesh = load(tmp_path, f"{SQUARE}vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvn 0 0 1\n{face}\n", notes)
    np.testing.assert_allclose(mesh.face_areas, [0.5, 0.5])
    np.testing.assert_allclose(mesh.face_normals, [[0, 0, 1]] * 2)
    assert mesh.corner_uv is not None
    if face.startswith(("f 1/1 ", "f 1/1/1")):
        np.testing.assert_allclose(mesh.corner_uv, mesh.triangles[..., :2])
    else:
        assert np.isnan(mesh.corner_uv).any(axis=(1, 2)).all()


def test_negative_numbers_count_from_their_own_line(tmp_path: Path, notes: Notes):
    mesh = load(tmp_path, "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 0 0 5\nv 1 0 5\nv 0 1 5\nf -3 -2 -1\n", notes)
    np.testing.assert_allclose(mesh.triangles[:, :, 2], [[0, 0, 0], [5, 5, 5]])


def test_faces_without_coordinates_do_not_take_them_from_others(tmp_path: Path, notes: Notes):
    (tmp_path / "red.png").write_bytes(png(RED))
    (tmp_path / "m.mtl").write_text("newmtl m\nKd 0 0 1\nmap_Kd red.png\n")
    text = f"mtllib m.mtl\n{SQUARE}vt 0.5 0.5\nusemtl m\nf 1/1 2/1 3/1\nf 1 3 4\n"
    mesh = load(tmp_path, text, notes)
    result = {tuple(color_of(mesh, face)) for face in (0, 1)}
    assert result == {(1, 0, 0, 1), (0, 0, 1, 1)}
    assert notes.texts == []


def test_continued_lines_vertex_colours_and_comments(tmp_path: Path, notes: Notes):
    mesh = load(tmp_path, "# hello\nv 0 0 0 1 0 0\nv 1 0 0 1 0 0\nv 0 1 0 1 0 0\nf 1 2 \\\n 3\n", notes)
    assert color_of(mesh) == [1, 0, 0, 1]


@pytest.mark.parametrize(("line", "expected"), [("d 0.25", 0.25), ("Tr 0.25", 0.75), ("d -halo 0.5", 0.5)])
def test_opacity(tmp_path: Path, notes: Notes, line: str, expected: float):
    (tmp_path / "m.mtl").write_text(f"newmtl my glass\nKd 0 1 0\n{line}\n")
    mesh = load(tmp_path, f"mtllib m.mtl\n{SQUARE}usemtl my glass\nf 1 2 3\n", notes)
    assert color_of(mesh) == [0, 1, 0, expected]


def test_texture_by_base_name_where_the_path_is_another_machines(tmp_path: Path, notes: Notes):
    (tmp_path / "wood.png").write_bytes(png(RED))
    (tmp_path / "m.mtl").write_text("newmtl m\nmap_Kd -s 1 1 1 C:\\Users\\me\\wood.png\n")
    mesh = load(tmp_path, f"mtllib m.mtl\n{SQUARE}vt 0 0\nusemtl m\nf 1/1 2/1 3/1\n", notes)
    assert color_of(mesh) == [1, 0, 0, 1]


def test_a_texture_outside_of_the_folder_is_not_read(tmp_path: Path, notes: Notes):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.png").write_bytes(png(RED))
    (inside / "m.mtl").write_text("newmtl m\nKd 0 1 0\nmap_Kd ../secret.png\n")
    mesh = load(inside, f"mtllib m.mtl\n{SQUARE}vt 0 0\nusemtl m\nf 1/1 2/1 3/1\n", notes)
    assert color_of(mesh) == [0, 1, 0, 1]
    assert notes.texts == ["the texture '../secret.png' is missing: its faces keep their plain colour"]


def test_lost_material_file_and_damaged_texture_are_noted(tmp_path: Path, notes: Notes):
    mesh = load(tmp_path, f"mtllib lost.mtl\n{SQUARE}usemtl m\nf 1 2 3\n", notes)
    assert color_of(mesh) == [0.8, 0.8, 0.8, 1]
    (tmp_path / "m.mtl").write_text("newmtl m\nKd 0 1 0\nmap_Kd red.png\n")
    (tmp_path / "red.png").write_bytes(png(RED)[:40])
    mesh = load(tmp_path, f"mtllib m.mtl\n{SQUARE}vt 0 0\nusemtl m\nf 1/1 2/1 3/1\n", notes)
    assert color_of(mesh) == [0, 1, 0, 1]
    assert notes.texts[0] == "the material file 'lost.mtl' is missing: its faces are plain grey"
    assert notes.texts[1].startswith("texture 'red.png': the texture cannot be read")


def test_a_big_texture_is_reduced(tmp_path: Path, notes: Notes):
    (tmp_path / "big.png").write_bytes(png(np.full((4, 3 * MAX_TEXTURE_SIDE, 3), 77, np.uint8)))
    (tmp_path / "m.mtl").write_text("newmtl m\nmap_Kd big.png\n")
    mesh = load(tmp_path, f"mtllib m.mtl\n{SQUARE}vt 0 0\nusemtl m\nf 1/1 2/1 3/1\n", notes)
    assert mesh.materials[1].texture is not None
    assert mesh.materials[1].texture.shape[1] == MAX_TEXTURE_SIDE
    assert color_of(mesh)[0] == pytest.approx(77 / 255, abs=1e-3)


def test_materials_and_textures_from_a_zip(tmp_path: Path, notes: Notes):
    members = {
        "x/a.obj": f"mtllib m.mtl\n{SQUARE}vt 0 0\nusemtl m\nf 1/1 2/1 3/1\n".encode(),
        "x/m.mtl": b"newmtl m\nmap_Kd textures/red.png\n",
        "x/textures/red.png": png(RED),
    }
    store = ZipStore(write_zip(tmp_path / "a.zip", members), 2**24)
    assert color_of(read_obj(store, "x/a.obj", LIMITS, notes)) == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no faces"),
        (SQUARE, "only points and lines and no faces"),
        (f"{SQUARE}f 1 2 9\n", "not in the file"),
        ("v 0 0 0\nv 1 0 0\nv 0 x 0\nf 1 2 3\n", "not a number"),
        (f"{SQUARE}f 1 2 three\n", "cannot be read"),
    ],
)
def test_broken_files_are_refused_with_the_reason(tmp_path: Path, notes: Notes, text: str, reason: str):
    with pytest.raises(AssetError, match=reason):
        load(tmp_path, text, notes)


def test_concave_polygons_keep_their_area():
    ell = np.array([[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]], np.float64)
    for start in range(6):
        for tilt in (np.eye(3), np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]), np.diag([1, -1, -1])):
            corners = np.pad(np.roll(ell, start, axis=0), ((0, 0), (0, 1))) @ tilt.T
            cut = triangulate(corners[None])[0]  # (4, 3)
            a, b, c = (corners[cut[:, k]] for k in range(3))
            vectors = np.cross(b - a, c - a) / 2
            assert np.linalg.norm(vectors, axis=1).sum() == pytest.approx(3.0)
            np.testing.assert_allclose(vectors.sum(axis=0), tilt @ [0, 0, 3.0], atol=1e-12)


def test_a_spiral_polygon_is_cut_without_overlap():
    turns = np.linspace(0, 3 * np.pi, 20)
    out = np.stack([turns * np.cos(turns) + 0.1, turns * np.sin(turns)], axis=1)
    back = 0.8 * out[::-1]
    outline = np.pad(np.concatenate([out, back]), ((0, 0), (0, 1)))
    x, y = outline[:, 0], outline[:, 1]
    area = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2  # shoelace
    cut = triangulate(outline[None])[0]
    a, b, c = (outline[cut[:, k]] for k in range(3))
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(area, rel=1e-6)
