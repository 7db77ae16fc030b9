"""Folders and zips of meshes, and the table that says what they are."""

import json
from pathlib import Path

import pytest
from tests.preparation.make import CUBE_OBJ, write_zip

from fieldforge.errors import UserError
from fieldforge.preparation.folder import FolderSource, words_of
from fieldforge.preparation.records import AssetRecord

CUBE = CUBE_OBJ.encode()


def records(path: Path, labels: Path | None = None) -> list[AssetRecord]:
    classes = {"seating": ["chair"]}
    return FolderSource(str(path), None if labels is None else str(labels), None, "CC0-1.0", "me", classes).records(
        2**24
    )


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
    found = records(meshes)
    assert [record.id for record in found] == ["deep/er/chair.OBJ", "more.zip/old sofa/model.obj", "red_armChair-2.obj"]
    assert [record.name for record in found] == ["chair", "old sofa", "red arm chair 2"]
    assert [record.asset_class for record in found] == ["seating", "other", "seating"]
    assert {(record.source, record.licence, record.creator) for record in found} == {("meshes", "CC0-1.0", "me")}
    assert len({record.key for record in found}) == 3


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


ROWS = [
    {"file": "red_armChair-2.obj", "name": "Red armchair", "class": "chairs", "captions": ["a chair", "red seat"]},
    {"file": "deep/er/chair.OBJ", "split": "heldout", "tags": "oak, old", "licence": "CC-BY-4.0", "creator": "Ann"},
]


def write_jsonl(path: Path) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    return path


def write_csv(path: Path) -> Path:
    path.write_text(
        "file,name,class,captions,split,tags,licence,creator\n"
        "red_armChair-2.obj,Red armchair,chairs,a chair | red seat,,,,\n"
        'deep/er/chair.OBJ,,,,heldout,"oak, old",CC-BY-4.0,Ann\n',
        encoding="utf-8-sig",
    )
    return path


@pytest.mark.parametrize("write", [write_jsonl, write_csv])
def test_labels_from_a_table(tmp_path: Path, meshes: Path, write):
    path = write(tmp_path / ("labels." + write.__name__.removeprefix("write_")))
    chair, sofa, armchair = records(meshes, path)
    assert (armchair.name, armchair.asset_class, armchair.captions) == (
        "Red armchair",
        "chairs",
        ("a chair", "red seat"),
    )
    assert (chair.split, chair.tags, chair.licence, chair.creator) == ("heldout", ("oak", "old"), "CC-BY-4.0", "Ann")
    assert (chair.name, chair.asset_class) == ("chair", "seating")
    assert (sofa.split, sofa.captions, sofa.licence) == (None, (), "CC0-1.0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"file": "x.obj"}', "names 'x.obj', but there is no such mesh"),
        ('{"file": "a.obj", "colour": "red"}', "line 1: unknown column 'colour'"),
        ('\n{"name": "a"}', "line 2: the column 'file' is empty"),
        ('{"file": "a.obj"}\n{"file": "a.obj"}', "line 2: 'a.obj' is there twice"),
        ('{"file": "a.obj", "split": "test"}', "line 1: split 'test' is unknown"),
        ('{"file": "a.obj", "captions": [1]}', "line 1: 'captions' must be a list of texts"),
        ('{"file": ', "line 1: not readable as JSON"),
        ("[1]", "line 1: not a JSON object"),
    ],
)
def test_mistakes_in_a_table_name_the_line(tmp_path: Path, text: str, message: str):
    (tmp_path / "a.obj").write_bytes(CUBE)
    (tmp_path / "labels.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        records(tmp_path, tmp_path / "labels.jsonl")


def test_missing_paths(tmp_path: Path):
    with pytest.raises(UserError, match=r"source\.path=.*no such folder or zip"):
        records(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"source\.labels=.*no such file"):
        records(tmp_path, tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("file", "words"),
    [("a/scene.gltf", "a"), ("model.glb", "model"), ("a.zip/x_Y-z.v2.ply", "x y z v2"), ("___.obj", "___")],
)
def test_words_of_a_file(file: str, words: str):
    assert words_of(file) == words
