"""OBJ and MTL files as other programs write them give the colours that those programs show, or a note."""

import time
from pathlib import Path

import numpy as np
import pytest
from tests.preparation.make import LIMITS, png

from fieldforge.geometry.mesh import Mesh
from fieldforge.readers.file_store import AssetError, FolderStore, Notes
from fieldforge.readers.obj import read_obj
from fieldforge.readers.obj_materials import java3d_materials
from fieldforge.readers.polygons import triangulate

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACE = "usemtl wood\nf 1/1 2/2 3/3 4/4\n"
OBJ = f"mtllib m.mtl\n{SQUARE}{FACE}"
RED_OVER_BLUE = np.array([[[255, 0, 0, 255]] * 2, [[0, 0, 255, 255]] * 2], np.uint8)
RED = np.tile(np.uint8([255, 0, 0, 255]), (2, 2, 1))


@pytest.fixture
def notes() -> Notes:
    return Notes([])


def load(folder: Path, notes: Notes, obj: str | bytes = OBJ, mtl: str | bytes | None = None, **pictures: bytes) -> Mesh:
    raw = obj if isinstance(obj, bytes) else obj.encode()
    (folder / "a.obj").write_bytes(raw)
    if mtl is not None:
        (folder / "m.mtl").write_bytes(mtl if isinstance(mtl, bytes) else mtl.encode())
    for name, payload in pictures.items():
        (folder / f"{name}.png").write_bytes(payload)
    return read_obj(FolderStore(folder, 2**24), "a.obj", LIMITS, notes)


def color_of(mesh: Mesh, face: int = 0) -> list[float]:
    return [round(float(value), 3) for value in mesh.color_at(np.array([face]), np.full((1, 3), 1 / 3))[0]]


@pytest.mark.parametrize(
    ("mtl", "expected"),
    [
        ("newmtl wood\nKd 1 0.5 0\n", [1, 0.5, 0]),
        ("\ufeffnewmtl\twood\r\n\tKd\t1\t0.5\t0\r\n", [1, 0.5, 0]),
        ("NEWMTL wood # the wood\nkd 1 0.5 0 # orange\n", [1, 0.5, 0]),
        ("newmtl wood\rKd 0,5 0,25 1\r", [0.5, 0.25, 1]),
        ("newmtl wood\nKd 0.5, 0.25, 1\n", [0.5, 0.25, 1]),
        ("newmtl wood\nKd 0.5\n", [0.5, 0.5, 0.5]),
        ("newmtl wood\nKd 0.5 0.25\n", [0.5, 0.25, 0.25]),
        ("newmtl wood\nKd xyz 0.4124 0.2126 0.0193\n", [1, 0, 0]),
        ("newmtl wood\nKd 1.0000001 2 -1\n", [1, 1, 0]),
        ('newmtl "wood"\nKd 1 0 0\n', [1, 0, 0]),
        ("newmtl wood\nKd 0 0 0\nKe 5 0.5 0\n", [1, 0.5, 0]),  # a lamp
        ("newmtl wood\nKd 0 0.25 0\nKe 1 0 0\n", [0, 0.25, 0]),
    ],
)
def test_colours_however_they_are_written(tmp_path: Path, notes: Notes, mtl: str, expected: list[float]):
    assert color_of(load(tmp_path, notes, mtl=mtl)) == pytest.approx([*expected, 1], abs=2e-3)
    assert notes.texts == []


@pytest.mark.parametrize(
    ("mtl", "expected", "note"),
    [
        ("newmtl wood\nKd nan 1 0\n", [0.8, 0.8, 0.8], "the colour of the material 'wood' cannot be read ('nan 1 0')"),
        ("newmtl wood\nKd\n", [0.8, 0.8, 0.8], "cannot be read"),
        ("newmtl wood\nKd spectral wood.rfl\n", [0.8, 0.8, 0.8], "spectral"),
        ("newmtl wood\nKd 0,98,0,47,0,04\n", [0.8, 0.8, 0.8], "cannot be read ('0,98,0,47,0,04')"),
        ("newmtl wood\nKa 1 0 0\nillum 2\n", [0.8, 0.8, 0.8], "the material 'wood' states no colour"),
        ("newmtl wood\nKd 1 0 0\nmap_Ka wood.png\n", [1, 0, 0], "ambient light alone"),
        ("newmtl wood\nKd 1 0 0\ndecal wood.png\n", [1, 0, 0], "a picture over its colour (decal)"),
        ("newmtl wood\nKd 255 51 0\n", [1, 0.2, 0], "0 to 255"),
        ("newmtl wood\nKd 1 0 0\nd abc\n", [1, 0, 0], "opacity"),
        ("newmtl wood\nKd 1 0 0\nd 1.#IND\n", [1, 0, 0], "opacity"),
        ("newmtl wood\nKd 1 0 0\nmap_Kd lost.png\n", [1, 0, 0], "'lost.png' is missing"),
        ("newmtl Wood\nKd 1 0 0\n", [1, 0, 0], "the material 'wood' is in no material file: 'Wood' is taken"),
        ("newmtl steel\nKd 1 0 0\n", [0.8, 0.8, 0.8], "the material 'wood' is described nowhere"),
    ],
)
def test_what_cannot_be_read_is_noted(tmp_path: Path, notes: Notes, mtl: str, expected: list[float], note: str):
    assert color_of(load(tmp_path, notes, mtl=mtl))[:3] == pytest.approx(expected, abs=2e-3)
    assert len(notes.texts) == 1
    assert note in notes.texts[0]


@pytest.mark.parametrize(
    ("statements", "opacity", "noted"),
    [
        (["Tr 1"], [1], False),  # MeshLab before 2023, openMVS: opacity
        (["Tr 1", "Tr 0.25"], [1, 0.25], False),
        (["Tr 0", "Tr 1"], [1, 0], False),  # as the specification says: transparency
        (["Tr 0", "Tr 0.25"], [1, 0.75], False),
        (["Tr 0.25"], [0.75], False),
        (["d 0.25\nTr 1"], [0.25], False),  # d counts first
        (["Tr 0.75\nd 0.25"], [0.25], False),
        (["d 0\nTr 0", "d 1"], [1, 1], False),  # a contradiction
        (["d 0", "d 1"], [0, 1], False),
        (["d 0", "d 0"], [1, 1], True),  # nobody models what cannot be seen
        (["d 0,5"], [0.5], False),
        (["d 7"], [1], False),
    ],
)
def test_opacity_by_stated_rules(
    tmp_path: Path, notes: Notes, statements: list[str], opacity: list[float], noted: bool
):
    mtl = "".join(f"newmtl m{index}\nKd 1 0 0\n{text}\n" for index, text in enumerate(statements))
    faces = "".join(f"usemtl m{index}\nf 1 2 3\n" for index in range(len(statements)))
    mesh = load(tmp_path, notes, f"mtllib m.mtl\n{SQUARE}{faces}", mtl)
    assert [color_of(mesh, face)[3] for face in range(len(statements))] == opacity
    assert bool(notes.texts) == noted


@pytest.mark.parametrize(
    "statement",
    [
        "map_Kd skin.png",
        "map_kd\tSKIN.PNG",
        'MAP_KD "skin.png"',
        "map_Kd skin.png # a comment",
        "map_Kd .\\textures\\skin.png",
        "map_Kd -s 1 1 1 -o 0 0 0 -blendu on -mm 0 1 skin.png",
        "map_Kd -clamp on -texres 256 my skin.png",
        "map_Kd my skin.png",
        "map_Kd my%20skin.png",
        "map_Kd part #2.png",
        "map_Kd skin.png -s 1 1 1",
    ],
)
def test_names_of_textures(tmp_path: Path, notes: Notes, statement: str):
    for name in ("skin.png", "my skin.png", "part #2.png"):
        (tmp_path / name).write_bytes(png(RED))
    assert color_of(load(tmp_path, notes, mtl=f"newmtl wood\n{statement}\n")) == [1, 0, 0, 1]
    assert notes.texts == []


def test_a_texture_is_placed_by_its_options(tmp_path: Path, notes: Notes):
    def at(options: str, v: float) -> list[float]:
        obj = f"mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0.5 {v}\nusemtl wood\nf 1/1 2/1 3/1\n"
        mesh = load(tmp_path, notes, obj, f"newmtl wood\nmap_Kd {options} skin.png\n", skin=png(RED_OVER_BLUE))
        return color_of(mesh)[:3]

    assert at("", 0.25) == [0, 0, 1]
    assert at("-o 0 0.5", 0.25) == [1, 0, 0]
    assert at("-s 1 3", 0.25) == [1, 0, 0]
    assert at("-s 1 2 1 -o 0 0.25 0", 0.25) == [1, 0, 0]
    assert at("", 1.25) == [0, 0, 1]
    assert at("-clamp on", 1.25) == [1, 0, 0]


def test_opacity_of_a_texture_counts_where_the_material_says_so(tmp_path: Path, notes: Notes):
    half, grey = RED.copy(), np.full((4, 4), 51, np.uint8)
    half[..., 3] = 102
    pictures = {"half": png(half), "grey": png(grey), "red": png(RED)}
    for statements, expected in (
        ("map_Kd half.png", [1, 0, 0, 1]),
        ("map_Kd half.png\nmap_d half.png", [1, 0, 0, 0.4]),
        ("map_Kd red.png\nmap_d red.png", [1, 0, 0, 1]),
        ("map_Kd red.png\nmap_d grey.png", [1, 0, 0, 0.2]),
        ("d 0\nmap_Kd red.png\nmap_d grey.png", [1, 0, 0, 0.2]),
        ("Kd 0 1 0\nmap_d half.png", [0, 1, 0, 0.4]),
        ("d 0.5\nmap_Kd half.png", [1, 0, 0, 0.5]),
    ):
        assert color_of(load(tmp_path, notes, mtl=f"newmtl wood\n{statements}\n", **pictures)) == expected


def test_in_a_library_of_sweet_home_3d_the_alpha_of_a_texture_always_counts(tmp_path: Path, notes: Notes):
    (tmp_path / "PluginFurnitureCatalog.properties").touch()
    half = RED.copy()
    half[..., 3] = 102
    assert color_of(load(tmp_path, notes, mtl="newmtl wood\nmap_Kd half.png\n", half=png(half))) == [1, 0, 0, 0.4]


@pytest.mark.parametrize(
    "statement",
    [
        "mtllib m.mtl",
        "MTLLIB\tM.MTL",
        'mtllib "m.mtl"',
        "mtllib lost.mtl\nmtllib m.mtl",
        "mtllib my wood.mtl",
        "mtllib m.mtl my wood.mtl",
        "mtllib steel.mtl  m.mtl # two",
        "mtllib sub\\deep.mtl",
        "",  # a.mtl lies beside a.obj
    ],
)
def test_material_files_of_all_names(tmp_path: Path, notes: Notes, statement: str):
    (tmp_path / "sub").mkdir()
    wood = "newmtl wood\nmap_Kd red.png\n"
    names = ["a.mtl"] if not statement else ["m.mtl", "my wood.mtl"]
    for name in names:
        (tmp_path / name).write_text(wood)
    (tmp_path / "steel.mtl").write_text("newmtl steel\nKd 0 0 1\n")
    (tmp_path / "sub" / "deep.mtl").write_text(wood.replace("red", "deep"))
    (tmp_path / "sub" / "deep.png").write_bytes(png(RED))  # beside the material file
    mesh = load(tmp_path, notes, f"{statement}\n{SQUARE}{FACE}", red=png(RED))
    assert color_of(mesh) == [1, 0, 0, 1]
    expected = ["lost.mtl"] if "lost" in statement else ["a.mtl"] if not statement else []
    assert len(notes.texts) == len(expected)
    assert all(name in text for name, text in zip(expected, notes.texts, strict=True))


@pytest.mark.parametrize(
    ("name", "expected", "noted"),
    [
        ("jetflame", [0.3059, 0.1365, 0.0], False),
        ("flltgrey", None, False),
        ("white.001", [1, 1, 1], False),
        ("amber_trans", [0.576, 0.268, 0], False),
        ("SteelBlue", [0.275, 0.51, 0.706], True),
        ("#ff8000", [1, 0.502, 0], True),
        ("Material_7", [0.8, 0.8, 0.8], True),
        ("None", [0.8, 0.8, 0.8], False),
    ],
)
def test_names_of_old_exporters_without_a_material_file(
    tmp_path: Path, notes: Notes, name: str, expected: list[float] | None, noted: bool
):
    color = color_of(load(tmp_path, notes, f"{SQUARE}usemtl {name}\nf 1 2 3\n"))
    assert color[3] == (0.16 if name == "amber_trans" else 1)
    if name in java3d_materials():
        expected = list(java3d_materials()[name].color[:3])
    assert color[:3] == pytest.approx(expected, abs=2e-3)
    assert bool(notes.texts) == noted
    assert all(name in text for text in notes.texts)


def test_accents_of_names_may_be_taken_apart(tmp_path: Path, notes: Notes):
    mtl = "newmtl Tu\u0308r\nKd 1 0 0\nnewmtl tür\nKd 0 1 0\n"
    mesh = load(tmp_path, notes, f"mtllib m.mtl\n{SQUARE}usemtl T\u00fcr\nf 1 2 3\nusemtl tu\u0308r\nf 1 3 4\n", mtl)
    assert [color_of(mesh, 0)[:3], color_of(mesh, 1)[:3]] == [[1, 0, 0], [0, 1, 0]]
    assert notes.texts == []


def test_materials_that_differ_by_a_number_after_a_hash_stay_apart(tmp_path: Path, notes: Notes):
    mtl = "newmtl Material #1\nKd 1 0 0\nnewmtl Material #2\nKd 0 1 0\n"
    mesh = load(
        tmp_path, notes, f"mtllib m.mtl\n{SQUARE}usemtl Material #1\nf 1 2 3\nusemtl Material #2\nf 1 3 4\n", mtl
    )
    assert [color_of(mesh, 0)[:3], color_of(mesh, 1)[:3]] == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_tabs_comments_continuations_and_encodings(tmp_path: Path, notes: Notes, encoding: str, newline: str):
    obj = (
        "#x\n\tv\t0  0\t0 # a\nV 1,0 0 0 #b\nv 1 1\\\n 0 1\nvt 0 0 # c\nusemtl\tred # d\n"
        "fo\t1/1 2/1\\ \n 3/1 # e\nl 1 2\np 1\n"
    )
    mesh = load(tmp_path, notes, obj.replace("\n", newline).encode(encoding))
    np.testing.assert_array_equal(mesh.triangles, [[[0, 0, 0], [1, 0, 0], [1, 1, 0]]])
    assert mesh.materials[1].color == java3d_materials()["red"].color


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["0 0 0 1 0.5 0"] * 3, [1, 0.5, 0]),
        (["0 0 0 255 51 0"] * 3, [1, 0.2, 0]),
        (["0 0 0 1 0 1 0.5"] * 3, [0, 1, 0.5]),  # x y z w r g b
        (["0 0 0 1 0.5 0.25 1", "0 0 0 0.7 0.5 0.25 1", "0 0 0 0.7 0.5 0.25 1"], [0.8, 0.5, 0.25]),  # with opacity
        (["0 0 0 1 0.5 0.25 0.125 1"] * 3, [0.5, 0.25, 0.125]),
        (["0 0 0 1"] * 3, [0.8, 0.8, 0.8]),
    ],
)
def test_vertex_colours_in_all_layouts(tmp_path: Path, notes: Notes, lines: list[str], expected: list[float]):
    mesh = load(tmp_path, notes, "".join(f"v {line}\n" for line in lines) + "f 1 2 3\n")
    assert color_of(mesh) == pytest.approx([*expected, 1], abs=2e-3)
    assert notes.texts == []


def test_vertex_colours_and_materials(tmp_path: Path, notes: Notes):
    obj = "mtllib m.mtl\n" + "v 0 0 0 0.5 1 1\n" * 3 + "vt 0 0\nusemtl wood\nf 1/1 2/1 3/1\n"
    for mtl, expected in (
        ("Kd 0.8 0.8 0.8", [0.5, 1, 1, 1]),  # a grey is the exporter's default
        ("Kd 1 0.5 0", [0.5, 0.5, 0, 1]),
        ("Kd 1 1 1\nmap_Kd red.png", [1, 0, 0, 1]),  # the texture is finer
        ("Kd 1 1 1\nmap_Kd lost.png", [0.5, 1, 1, 1]),
        ("d 0.5", [0.5, 1, 1, 0.5]),
    ):
        assert color_of(load(tmp_path, notes, obj, f"newmtl wood\n{mtl}\n", red=png(RED))) == expected
    white = obj.replace("0.5 1 1", "1 1 1")
    assert color_of(load(tmp_path, notes, white, "newmtl wood\nKd 0.5 0.5 0.5\n")) == [0.5, 0.5, 0.5, 1]


def test_colours_of_some_vertices_only(tmp_path: Path, notes: Notes):
    obj = "v 0 0 0 1 0 0\nv 1 0 0 1 0 0\nv 0 1 0 1 0 0\nv 1 1 0\nf 1 2 3\nf 2 4 3\n"
    mesh = load(tmp_path, notes, obj)
    assert color_of(mesh, 0) == [1, 0, 0, 1]
    assert color_of(mesh, 1) == pytest.approx([1, 1 / 3, 1 / 3, 1], abs=1e-3)
    assert notes.texts == ["1 of 4 vertices have no colour: they are white"]


def test_names_that_are_not_utf_8_can_be_written_down(tmp_path: Path, notes: Notes):
    mesh = load(tmp_path, notes, OBJ, b"newmtl wood\nKd 1 0 0\nmap_Kd T\xfcr\xff.png\n")
    assert color_of(mesh) == [1, 0, 0, 1]
    assert notes.texts[0].encode() == "the texture 'Türÿ.png' is missing: its faces keep their plain colour".encode()
    with pytest.raises(AssetError) as caught:
        raise AssetError("chair_\udcfc\ud800.glb")
    str(caught.value).encode()


def test_what_is_no_mesh_says_so(tmp_path: Path, notes: Notes):
    with pytest.raises(AssetError, match="free-form"):
        load(tmp_path, notes, "v 0 0 0\ncstype bezier\nsurf 0 1 0 1 1 1 1 1\nend\n")
    mesh = load(tmp_path, notes, f"{SQUARE}f 1/1 2/9 3/3\nsurf 0 1 0 1\n")
    assert len(mesh.faces) == 1
    assert notes.texts == [
        "its 1 free-form surfaces are left out",
        "1 corners refer to texture coordinates that are not in the file",
    ]


def test_a_polygon_of_2000_corners_takes_a_second_and_keeps_its_area():
    count = 2000
    angle, radius = np.arange(count) / count * 2 * np.pi, 1 + 0.3 * np.sin(np.arange(count) * 1.7)
    star = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], axis=1)
    start = time.process_time()
    cut = triangulate(star[None])[0]
    assert time.process_time() - start < 10  # 29 s once; half a second on an idle core
    a, b, c = (star[cut[:, corner]] for corner in range(3))
    areas = np.cross(b - a, c - a)[:, 2] / 2
    x, y = star[:, 0], star[:, 1]
    assert np.abs(areas).sum() == pytest.approx((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)
    assert (areas >= 0).all()


@pytest.mark.parametrize(
    ("obj", "mtl"),
    [
        (f"# from C:\\models\\\nmtllib m.mtl\n{SQUARE}{FACE}", "newmtl wood\nKd 1 0 0\n"),
        (f"mtllib m.mtl\r\n# D:\\ \r\n{SQUARE}{FACE}", "  # E:\\maps\\\r\nnewmtl wood\r\n# E:\\\r\nKd 1 0 0\r\n"),
    ],
)
def test_a_comment_is_not_continued(tmp_path: Path, notes: Notes, obj: str, mtl: str):
    assert color_of(load(tmp_path, notes, obj, mtl)) == [1, 0, 0, 1]
    assert notes.texts == []


def test_colours_in_the_comments_of_zbrush(tmp_path: Path, notes: Notes):
    lines = "#MRGB ffff0000ffff0000\r\n#MRGB ffff000000ff0000\r\n"
    mesh = load(tmp_path, notes, f"{SQUARE}{lines}{FACE.splitlines()[1]}\n".replace("\n", "\r\n").replace("\r\r", "\r"))
    assert color_of(mesh) == [1, 0, 0, 1]
    assert notes.texts == []


def test_colours_of_zbrush_that_fit_no_vertices_are_noted(tmp_path: Path, notes: Notes):
    mesh = load(tmp_path, notes, f"{SQUARE}#MRGB ffff0000\nf 1 2 3\n")
    assert color_of(mesh) == [0.8, 0.8, 0.8, 1]
    assert "#MRGB" in notes.texts[0]
    assert "1 of 4" in notes.texts[0]


def test_what_is_no_face_is_noted(tmp_path: Path, notes: Notes):
    mesh = load(tmp_path, notes, f"{SQUARE}f 1 2\nl 1 2 3\nf 1 2 3\n")
    assert len(mesh.faces) == 1
    assert [any(word in text for text in notes.texts) for word in ("three corners", "lines")] == [True, True]
    with pytest.raises(AssetError, match="only points and lines"):
        load(tmp_path, notes, SQUARE)


def test_comments_that_touch_the_last_number(tmp_path: Path, notes: Notes):
    lines = [f"{line}# c" if line[0] in "vf" else line for line in OBJ.splitlines()]
    mesh = load(tmp_path, notes, "\n".join(lines), "newmtl wood\nKd 1 0.5 0# orange\nd 0.5#half\n")
    assert color_of(mesh) == [1, 0.5, 0, 0.5]
    assert notes.texts == []
