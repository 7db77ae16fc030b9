"""OFF in its dialects."""

from pathlib import Path

import numpy as np
import pytest
from tests.preparation.make import LIMITS

from fieldforge.geometry.mesh import Mesh
from fieldforge.readers.file_store import AssetError, FolderStore, Notes
from fieldforge.readers.load import load_mesh

CORNERS = ["0 0 0", "1 0 0", "1 1 0", "0 1 0"]
GREY = (204, 204, 204, 255)


def off(word: str = "OFF\n", vertex: str = "", faces: str = "4 0 1 2 3\n", counts: str | None = None) -> bytes:
    rows = "".join(f"{corner} {vertex}\n" for corner in CORNERS)
    return f"{word}{counts or f'4 {len(faces.splitlines())} 0'}\n\n# corners\n{rows}{faces}".encode()


def load(folder: Path, payload: bytes) -> tuple[Mesh, list[str]]:
    (folder / "a.off").write_bytes(payload)
    notes = Notes([])
    return load_mesh(FolderStore(folder, LIMITS.max_file_bytes), "a.off", LIMITS, notes), notes.texts


def colors(mesh: Mesh) -> list[tuple[int, ...]]:
    middle = mesh.color_at(np.arange(len(mesh.faces)), np.full((len(mesh.faces), 3), 1 / 3))
    return [tuple(row) for row in np.round(middle * 255).astype(int).tolist()]


@pytest.mark.parametrize(
    ("word", "vertex", "color"),
    [
        ("OFF\n", "", GREY),
        ("OFF ", "", GREY),
        ("", "", GREY),
        ("\ufeff# a comment\nOFF # another\n", "", GREY),
        ("off\n", "", GREY),
        ("COFF\n", "255 0 51 255", (255, 0, 51, 255)),
        ("COFF\n", "255 0 51", (255, 0, 51, 255)),
        ("COFF\n", "0 0 1 255", (0, 0, 1, 255)),
        ("COFF\n", "1 0 0.2 1", (255, 0, 51, 255)),
        ("COFF\n", "1.0 0.0 0.2 0.2", (255, 0, 51, 51)),
        ("NOFF\n", "0 0 1", GREY),
        ("CNOFF\n", "0 0 1 1 0 0.2 1", (255, 0, 51, 255)),
        ("NCOFF\n", "255 0 51 255 0 0 1", (255, 0, 51, 255)),
        ("STOFF\n", "0.5 0.5", GREY),
        ("STCNOFF\n", "0 0 1 1 0 0.2 1 0.5 0.5", (255, 0, 51, 255)),
        ("OFF\n", "255 0 51", (255, 0, 51, 255)),
    ],
)
def test_dialects_and_colours_of_vertices(tmp_path: Path, word: str, vertex: str, color: tuple[int, ...]):
    mesh, notes = load(tmp_path, off(word, vertex))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    np.testing.assert_array_equal(mesh.bounds, [[0, 0, 0], [1, 1, 0]])
    assert colors(mesh) == [color] * 2
    assert not notes


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("OFF 4 2 0 0 0 0 1 0 0 1 1 0 0 1 0 3 0 1 2 3 0 2 3", GREY),
        ("OFF\n4 2\n0 0 0 1 0 0 1 1 0 0 1 0 3 0 1 2 3 0 2 3", GREY),
        ("4 2 5 0 0 0\n1 0 0 1 1 0\n0 1 0\n3 0 1 2 3\n0 2 3", GREY),
        ("OFF\n4 2 0 0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2\n3 0 2 3", GREY),
        ("COFF 4 2 0 " + "".join(f"{corner} 1 0 0.2 1 " for corner in CORNERS) + "3 0 1 2 3 0 2 3", (255, 0, 51, 255)),
        ("COFF 4 2 0 " + "".join(f"{corner} 255 0 51 " for corner in CORNERS) + "3 0 1 2 3 0 2 3", (255, 0, 51, 255)),
        ("NOFF 4 2 0 " + "".join(f"{corner} 0 0 1 " for corner in CORNERS) + "3 0 1 2 3 0 2 3", GREY),
    ],
)
def test_numbers_may_stand_in_any_lines(tmp_path: Path, text: str, color: tuple[int, ...]):
    mesh, notes = load(tmp_path, text.encode())
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    np.testing.assert_array_equal(mesh.bounds, [[0, 0, 0], [1, 1, 0]])
    assert colors(mesh) == [color] * 2
    assert not notes


@pytest.mark.parametrize(
    "text",
    [
        "OFF 4 2 0 0 0 0 1 0 0 1 1 0 0 1 0 3 0 1 2 3 0 2",
        "OFF 4 2 0 0 0 0 1 0 0 1 1 0 0 1 0 3 0 1 2 3 0 2 4",
        "OFF 4 2 0 0 0 0 1 0 0 1 1 0 0 1 0 3 0 1 2 255 0 0 3 0 2 3 255 0 0",
        "OFF 4 2 0 0 0 0 1 0 0 1 1 0 0 1 0 3 0 1 2 99999999999999999999 0 2 3",
    ],
)
def test_what_does_not_come_out_even_is_refused(tmp_path: Path, text: str):
    with pytest.raises(AssetError, match="counts are wrong, or a line holds several"):
        load(tmp_path, text.encode())


@pytest.mark.parametrize("tail", ["255 0 0", "255 0 0 255", "1.0 0 0", "1 0 0 1"])
def test_colours_of_faces(tmp_path: Path, tail: str):
    mesh, notes = load(tmp_path, off(faces=f"3 0 1 2 {tail}\n3 0 2 3\n"))
    assert colors(mesh) == [(255, 0, 0, 255), GREY]
    assert not notes


def test_what_cannot_be_told_is_noted(tmp_path: Path):
    mesh, notes = load(tmp_path, off(faces="3 0 1 2 5\n3 0 2 3 7\n"))
    assert colors(mesh) == [GREY, GREY]
    assert "colour map" in notes[0]
    mesh, notes = load(tmp_path, off(vertex="0 0 1"))
    assert colors(mesh) == [GREY, GREY]
    assert "does not name" in notes[0]
    _, notes = load(tmp_path, off(counts="4 1 0") + b"3 0 1 2\n")
    assert "1 lines stand behind" in notes[0]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (off("4OFF\n", "1"), "a 4OFF, of points in other than three dimensions"),
        (off("nOFF\n"), "a nOFF"),
        (off("OFF BINARY\n"), "binary OFF"),
        (b"OFF\n\x00\x00\x00\x04", "binary OFF"),
        (off(counts="4 9 0"), "announces 4 vertices and 9 faces but holds 5 lines"),
        (off(counts="4 900000 0"), "announces 900,000 triangles"),
        (off(faces="4 0 1 2\n"), "fewer corners"),
        (off(faces="3 0 1 x\n"), "a face cannot be read"),
        (off(faces=f"3 0 1 {10**30}\n"), "a face cannot be read"),
        (off(counts=f"4 {10**30} 0"), "counts of vertices"),
        (off(vertex="1" * 401), "something else than numbers"),
        (off(faces="3 0 1 4\n"), "names vertex 4"),
        (off(vertex="a"), "something else than numbers"),
        (off("COFF\n"), "does not fit its first word"),
        (off(counts="four 1 0"), "counts of vertices"),
        (b"OFF\n", "counts of vertices"),
        (b"plx\n", "does not begin as an OFF"),
    ],
)
def test_what_is_no_off_is_rejected_by_a_sentence(tmp_path: Path, payload: bytes, reason: str):
    with pytest.raises(AssetError, match=reason):
        load(tmp_path, payload)
