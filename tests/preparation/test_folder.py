"""Folders and zips of meshes."""

import os
from pathlib import Path

import pytest
from tests.preparation.make import CUBE_OBJ, tiny_settings, write_zip

from fieldforge.engines.engine import LocalEngine
from fieldforge.errors import UserError
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.folder import FolderSource, words_of
from fieldforge.preparation.pipeline import prepare
from fieldforge.readers.file_store import AssetError, FolderStore, ZipStore

CUBE = CUBE_OBJ.encode()


def source_of(path: Path, labels: Path | None = None) -> FolderSource:
    classes = {"seating": ["chair"]}
    return FolderSource(str(path), None if labels is None else str(labels), None, "CC0-1.0", "me", classes)


def records(path: Path, labels: Path | None = None) -> list[AssetRecord]:
    return source_of(path, labels).records(2**24)


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """Three meshes in a folder, in a folder inside it, and in a zip, among files that are none."""
    folder = tmp_path / "meshes"
    for name in ("red_armChair-2.obj", "deep/er/chair.OBJ", "__MACOSX/chair.obj", ".hidden.obj", "readme.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(CUBE)
    write_zip(folder / "more.zip", {"old sofa/model.obj": CUBE, "old sofa/notes.txt": b"x"})
    return folder


def test_all_meshes_are_found_in_a_fixed_order(meshes: Path):
    result = records(meshes)
    assert [record.id for record in result] == [
        "deep/er/chair.OBJ",
        "more.zip/old sofa/model.obj",
        "red_armChair-2.obj",
    ]
    assert [record.name for record in result] == ["chair", "old sofa", "red arm chair 2"]
    assert [record.asset_class for record in result] == ["seating", "other", "seating"]
    assert {(record.source, record.licence, record.creator) for record in result} == {("meshes", "CC0-1.0", "me")}
    assert len({record.key for record in result}) == 3


def test_a_zip_alone_is_a_source_too(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", {"x/chair.obj": CUBE, "b.obj": CUBE})
    assert [record.id for record in records(path)] == ["b.obj", "x/chair.obj"]


def test_members_that_lead_out_of_a_zip_are_rejected_with_the_reason(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", {"../evil.obj": CUBE, "/abs.obj": CUBE, "C:\\w.obj": CUBE, "good.obj": CUBE})
    reasons = {record.id: record.reject for record in records(path)}
    assert reasons.pop("good.obj") is None
    assert len(reasons) == 3
    assert all("folder" in str(reason) for reason in reasons.values())


def test_a_broken_zip_inside_a_folder_is_one_rejected_asset(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 no more")
    (only,) = records(tmp_path)
    assert only.reject is not None
    assert "cannot be read" in only.reject
    with pytest.raises(UserError, match="cannot be read as a zip"):
        records(tmp_path / "a.zip")


@pytest.mark.parametrize("alone", [True, False])
def test_archives_that_are_not_looked_into_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture, alone: bool):
    packed = tmp_path / "assets" / "set.zip"
    packed.parent.mkdir()
    write_zip(packed, {"cube.obj": CUBE, "more/inner.ZIP": b"", "old.tar.gz": b"", "__MACOSX/x.zip": b""})
    (packed.parent / "others.7z").touch()
    path = packed if alone else packed.parent
    assert [Path(record.id).name for record in records(path)] == ["cube.obj"]
    place, count = ("", 2) if alone else ("others.7z", 3)
    assert f"{path}: {count} links, folders or archives are left out; the first is '{place}" in caplog.text
    assert "it is an archive, unpack it" in caplog.text


def test_missing_paths(tmp_path: Path):
    with pytest.raises(UserError, match=r"source\.path=.*no such folder or zip"):
        records(tmp_path / "nowhere")


def link(target: str | Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(target, place)


def test_links_inside_are_followed_and_circles_end(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source = tmp_path / "source"
    (source / "all/deep").mkdir(parents=True)
    (source / "all/deep/1.obj").write_bytes(CUBE)
    link("../all/deep/1.obj", source / "chairs/red chair.obj")
    link("all/deep", source / "linked")
    link(".", source / "again")
    link("../..", source / "all/deep/up")
    link(source, tmp_path / "elsewhere")
    expected = ["all/deep/1.obj", "chairs/red chair.obj", "linked/1.obj"]
    assert [record.id for record in records(source)] == expected
    assert [record.id for record in records(tmp_path / "elsewhere")] == expected
    assert not caplog.text
    for record in records(tmp_path / "elsewhere"):
        assert FolderStore(Path(record.archive), 2**20).read(record.file) == CUBE


def test_many_folders_of_links_to_each_other_end(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for one in "abcdefghij":
        (tmp_path / one).mkdir()
        for other in "abcdefghij":
            link(f"../{other}", tmp_path / one / other)
    (tmp_path / "a" / "chair.obj").write_bytes(CUBE)
    assert 1 <= len(records(tmp_path)) <= 9
    assert "listed under 8 names already" in caplog.text


def test_links_that_lead_out_are_named_and_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    outside, source = tmp_path / "outside", tmp_path / "source"
    outside.mkdir()
    source.mkdir()
    (outside / "secret.obj").write_bytes(CUBE)
    write_zip(outside / "secret.zip", {"secret.obj": CUBE})
    (source / "good.obj").write_bytes(CUBE)
    link(outside, source / "folder")
    link("nowhere.obj", source / "lost.obj")
    link("ring", source / "ring")
    link(outside / "secret.obj", source / "file.obj")
    link(outside / "secret.zip", source / "more.zip")
    result = {record.id: record for record in records(source)}
    assert result.keys() == {"good.obj", "file.obj", "more.zip"}
    assert "leads out of" in str(result["more.zip"].reject)
    with pytest.raises(AssetError, match="leads out of"):
        FolderStore(source, 2**20).read(result["file.obj"].file)
    assert "3 links, folders or archives are left out; the first is 'folder': it leads out of the folder" in caplog.text


def test_the_cache_of_the_hub_is_a_source(tmp_path: Path):
    model = tmp_path / "models--me--chairs"
    snapshot = model / "snapshots" / "0123abcd"
    (model / "blobs").mkdir(parents=True)
    (model / "blobs" / "f00d").write_bytes(CUBE)
    link("../../blobs/f00d", snapshot / "chair.obj")
    link("../../../blobs/f00d", snapshot / "tables/table.obj")
    for place, count in ((snapshot, 2), (model, 2), (snapshot / "tables", 1)):
        result = records(place)
        assert len(result) == count
        for record in result:
            assert FolderStore(Path(record.archive), 2**20).read(record.file) == CUBE
    (model / "blobs").rename(tmp_path / "private")  # a folder of blobs that is itself a link is nobody's cache
    link(tmp_path / "private", model / "blobs")
    with pytest.raises(AssetError, match="leads out of"):
        FolderStore(snapshot, 2**20).read("chair.obj")


def test_names_that_are_not_utf8_are_assets_like_others(tmp_path: Path):
    for raw in (b"chair_\xfc.obj", "chair_ü.obj".encode(), b"\xff\xfe/chair.obj", "de\u0301part.obj".encode()):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/source/" + raw))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CUBE)
    (tmp_path / "labels.csv").write_text("file,name\nd\u00e9part.obj,Departure\n", encoding="utf-8")
    result = records(tmp_path / "source", tmp_path / "labels.csv")
    assert [record.id for record in result] == ["chair_ü.obj", "chair_ü~2.obj", "de\u0301part.obj", "ÿþ/chair.obj"]
    assert result[2].name == "Departure"
    output = tmp_path / "shards"
    prepare(source_of(tmp_path / "source"), tiny_settings(heldout_share=0), 0, output, LocalEngine(1))
    assert (output / "rejected.jsonl").read_text() == ""
    os.rename(tmp_path / "source", os.fsencode(tmp_path) + b"/m\xf6bel")
    (record, *_) = records(Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xf6bel")))
    assert record.source == "möbel"


def test_names_in_zips(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", {"chair_XX.obj": CUBE, "old\\sofa.obj": CUBE})
    path.write_bytes(path.read_bytes().replace(b"chair_XX", "chair_ü".encode()))  # UTF-8 without its mark
    result = records(path)
    assert [record.name for record in result] == ["chair ü", "sofa"]
    for record in result:
        assert ZipStore(path, 2**20).read(record.file) == CUBE


def test_a_zip_whose_names_are_not_what_it_says_is_one_rejected_asset(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", {"chair_ü.obj": CUBE})
    path.write_bytes(path.read_bytes().replace("ü".encode(), b"\xfc\xfc"))
    (tmp_path / "b.obj").write_bytes(CUBE)
    first, second = records(tmp_path)
    assert "cannot be read" in str(first.reject)
    assert second.reject is None


@pytest.mark.parametrize(
    ("file", "words"),
    [("a/scene.gltf", "a"), ("model.glb", "model"), ("a.zip/x_Y-z.v2.ply", "x y z v2"), ("___.obj", "___")],
)
def test_words_of_a_file(file: str, words: str):
    assert words_of(file) == words
