"""References as programs of all systems write them lead to the file that is meant, and never out of the store."""

import os
from pathlib import Path

import pytest
from tests.preparation.make import write_zip

from fieldforge.readers.beside import find_beside, read_beside
from fieldforge.readers.file_store import AssetError, FileStore, FolderStore, ZipStore

FILES = ["a/model.obj", "a/Wood.PNG", "a/maps/oak bark.png", "a/maps/t\u00fcr.png", "b/wood.png", "plain%20name.png"]


@pytest.fixture(params=["folder", "zip", "windows zip"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    if request.param == "folder":
        for name in FILES:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(name.encode())
        return FolderStore(tmp_path, 2**20)
    slash = "\\" if request.param == "windows zip" else "/"
    members = {name.replace("/", slash): name.encode() for name in FILES}
    return ZipStore(write_zip(tmp_path / "a.zip", members), 2**20)


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("Wood.PNG", "a/Wood.PNG"),
        ("wood.png", "a/Wood.PNG"),
        ('"wood.png" ', "a/Wood.PNG"),
        ("./wood.png", "a/Wood.PNG"),
        ("MAPS\\Oak Bark.png", "a/maps/oak bark.png"),
        ("maps/oak%20bark.png", "a/maps/oak bark.png"),
        ("maps/tu\u0308r.png", "a/maps/t\u00fcr.png"),
        ("maps/T%C3%9CR.png", "a/maps/t\u00fcr.png"),
        ("maps/t\udcfcr.png", "a/maps/t\u00fcr.png"),
        ("../b/wood.png", "b/wood.png"),
        ("../plain%20name.png", "plain%20name.png"),
        ("C:\\Users\\me\\maps\\oak bark.png", "a/maps/oak bark.png"),
        ("/home/me/a/wood.png", "a/Wood.PNG"),
        ("file:///C:/me/wood.png", "a/Wood.PNG"),
        ("../../../etc/passwd", None),
        ("lost.png", None),
        ("maps", None),
        ("", None),
        ("..", None),
        ("wood.png\0", None),
        ("x/" * 5000 + "wood.png", None),
    ],
)
def test_references_of_all_systems(store: FileStore, reference: str, name: str | None):
    assert find_beside(store, "a", reference) == name
    assert read_beside(store, "a", reference) == (None if name is None else name.encode())


def test_nearer_folders_come_first(store: FileStore):
    assert find_beside(store, "a/maps", "wood.png") is None
    assert find_beside(store, "a/maps", "wood.png", "b", "a") == "b/wood.png"
    assert find_beside(store, "b", "wood.png", "a") == "b/wood.png"
    assert find_beside(store, "", "model.obj", "a") == "a/model.obj"


def test_of_several_names_the_exact_one_counts_else_the_first(tmp_path: Path):
    for name in ("wood.PNG", "Wood.png", "wood.png"):
        (tmp_path / name).touch()
    store = FolderStore(tmp_path, 2**20)
    assert find_beside(store, "", "wood.png") == "wood.png"
    assert find_beside(store, "", "WOOD.png") == "Wood.png"


def test_names_that_are_not_utf_8(tmp_path: Path):
    (tmp_path / os.fsdecode(b"t\xfcr.png")).write_bytes(b"door")
    store = FolderStore(tmp_path, 2**20)
    for reference in ("t\u00fcr.png", "t\udcfcr.png"):
        assert read_beside(store, "", reference) == b"door"


def test_links_that_lead_out_and_to_themselves(tmp_path: Path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "up").symlink_to(tmp_path)
    (inside / "loop").symlink_to(inside / "loop")
    store = FolderStore(inside, 2**20)
    with pytest.raises(AssetError, match="leads out"):
        read_beside(store, "", "LINK.png")
    assert read_beside(store, "", "up/secret.png") is None
    assert read_beside(store, "", "loop/secret.png") is None
