"""STL: which of the two kinds a file is, counts that lie, and the colours of binary ones."""

import struct
from pathlib import Path

import numpy as np
import pytest
from tests.preparation.make import LIMITS

from fieldforge.geometry.mesh import Mesh
from fieldforge.readers.file_store import AssetError, FolderStore, Notes
from fieldforge.readers.load import load_mesh

TRIANGLES = np.float32([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 1, 0], [0, 0, 1]]])
GREY = (204, 204, 204, 255)


def binary(head: bytes = b"made by hand", count: int = 2, attributes: tuple[int, int] = (0, 0)) -> bytes:
    rows = b"".join(
        struct.pack("<3f9fH", 0, 0, 0, *triangle.ravel().tolist(), attribute)
        for triangle, attribute in zip(TRIANGLES, attributes, strict=True)
    )
    return head.ljust(80, b"\0") + struct.pack("<I", count) + rows


def facet(triangle: np.ndarray) -> str:
    corners = "".join(f"      vertex {x} {y} {z}\n" for x, y, z in triangle.tolist())
    return f"  facet normal 0 0 1\n    outer loop\n{corners}    endloop\n  endfacet\n"


def ascii_stl(name: str = "solid vertex 1 2 3") -> str:
    return f"{name}\n{facet(TRIANGLES[0])}endsolid\nsolid second\n{facet(TRIANGLES[1])}endsolid second\n"


def load(folder: Path, payload: bytes) -> tuple[Mesh, list[str]]:
    (folder / "a.stl").write_bytes(payload)
    notes = Notes([])
    return load_mesh(FolderStore(folder, LIMITS.max_file_bytes), "a.stl", LIMITS, notes), notes.texts


def colors(mesh: Mesh) -> list[tuple[int, ...]]:
    middle = mesh.color_at(np.arange(len(mesh.faces)), np.full((len(mesh.faces), 3), 1 / 3))
    return [tuple(row) for row in np.round(middle * 255).astype(int).tolist()]


@pytest.mark.parametrize(
    "payload",
    [
        ascii_stl().encode(),
        ascii_stl().upper().encode(),
        ascii_stl("  \n\tSolid").replace("\n", "\r\n").encode(),
        ascii_stl().replace("\n", "\r").encode(),
        b"\xef\xbb\xbf" + ascii_stl().encode(),
        ascii_stl().encode("utf-16"),
        ascii_stl("# exported").encode(),
        binary(),
        binary(b"solid in name only"),
        binary(b"  SOLID facet"),
    ],
)
def test_both_kinds_whatever_they_begin_with(tmp_path: Path, payload: bytes):
    mesh, notes = load(tmp_path, payload)
    np.testing.assert_array_equal(mesh.triangles, TRIANGLES)
    assert colors(mesh) == [GREY] * 2
    assert not notes


@pytest.mark.parametrize(
    ("payload", "note"),
    [
        (binary(count=0), "announces 0 triangles and holds 2"),
        (binary(count=2**32 - 1), "announces 4,294,967,295 triangles and holds 2"),
        (binary(count=1), "announces 1 triangles and holds 2"),
        (binary(count=9), "announces 9 triangles and holds 2"),
        (binary(count=10_000_000), "announces 10,000,000 triangles and holds 2"),
        (binary() + b"trailing", "8 bytes stand behind"),
        (binary() + bytes(50), "50 bytes stand behind"),
        (ascii_stl().replace("endsolid second", "").encode(), None),
        (ascii_stl().replace("endsolid", "").encode(), "no endsolid"),
    ],
)
def test_the_size_decides_and_it_is_noted(tmp_path: Path, payload: bytes, note: str | None):
    mesh, notes = load(tmp_path, payload)
    np.testing.assert_array_equal(mesh.triangles, TRIANGLES)
    assert note is None or note in notes[0]


def bits(low: int, middle: int, high: int, flag: bool) -> int:
    return low | middle << 5 | high << 10 | flag << 15


def test_colours_of_viscam_and_magics(tmp_path: Path):
    mesh, _ = load(tmp_path, binary(attributes=(bits(0, 0, 31, True), bits(31, 0, 0, False))))
    assert colors(mesh) == [(255, 0, 0, 255), GREY]
    head = b"made by hand COLOR=" + bytes([10, 20, 30, 255]) + b",MATERIAL="
    mesh, _ = load(tmp_path, binary(head, attributes=(bits(31, 0, 0, False), bits(31, 0, 0, True))))
    assert colors(mesh) == [(255, 0, 0, 255), (10, 20, 30, 255)]
    mesh, _ = load(tmp_path, binary(head))
    assert colors(mesh) == [(10, 20, 30, 255)] * 2
    mesh, _ = load(tmp_path, binary(attributes=(7, 9)))  # something else than a colour
    assert colors(mesh) == [GREY] * 2


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (binary()[:-7], "ends within number 2"),
        (binary(count=10_000_000)[:-7], "ends within number 2"),
        (binary(count=100_001)[:84] + bytes(50 * 100_001), "100,001 triangles and the limit"),
        (binary(count=2**32 - 1)[:84] + bytes(50 * 100_001), "100,001 triangles and the limit"),
        (binary(count=0)[:84], "holds no faces"),
        (b"solid a\nendsolid a\n", "holds no faces"),
        (ascii_stl()[:-90].encode(), "not three each"),
        (ascii_stl().replace("1.0", "1,0").encode(), "something else than numbers"),
        (b"\0" * 20, "too short"),
        (b"solid\n" + 100_001 * b"facet\n", "announces 100,001 triangles"),
    ],
)
def test_damaged_files_are_rejected_by_a_sentence(tmp_path: Path, payload: bytes, reason: str):
    with pytest.raises(AssetError, match=reason):
        load(tmp_path, payload)


def test_facets_in_one_line(tmp_path: Path):
    one = " ".join(ascii_stl("solid").split())
    mesh, notes = load(tmp_path, one.encode())
    np.testing.assert_allclose(mesh.triangles, TRIANGLES)
    assert notes == []
    facets = "".join(" ".join(facet(triangle).split()) + "\n" for triangle in TRIANGLES)
    mesh, _ = load(tmp_path, f"solid vertex 1 2 3\n{facets}endsolid\n".encode())
    np.testing.assert_allclose(mesh.triangles, TRIANGLES)
