"""The table that says what the meshes of a folder are."""

import json
from pathlib import Path

import pytest
from tests.preparation.make import CUBE_OBJ, write_zip

from fieldforge.errors import UserError
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.folder import FolderSource
from fieldforge.preparation.labels import Label, read_labels
from fieldforge.readers.load import MESH_ENDINGS

CUBE = CUBE_OBJ.encode()


def records(path: Path, labels: Path) -> list[AssetRecord]:
    return FolderSource(str(path), str(labels), None, "CC0-1.0", "me", {"seating": ["chair"]}).records(2**24)


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    folder = tmp_path / "meshes"
    for name in ("red_armChair-2.obj", "deep/er/chair.OBJ"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(CUBE)
    write_zip(folder / "more.zip", {"old sofa/model.obj": CUBE})
    return folder


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
        ('{"file": "x.obj"}', "names 'x.obj', but there is no such file"),
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


def table(tmp_path: Path, text: str | bytes, ending: str = "csv") -> dict[str, Label]:
    path = tmp_path / f"labels.{ending}"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_labels(path, MESH_ENDINGS)


def captions(labels: dict[str, Label]) -> dict[str, tuple[str, ...]]:
    return {file: label.captions for file, label in labels.items()}


CHAIR = {"a.glb": ("a chair", "a seat")}
LISTS = [
    ("csv", 'file,captions\na.glb,"[""a chair"", ""a seat""]"\n'),
    ("csv", "file,captions\na.glb,\"['a chair', 'a seat', None]\"\n"),
    ("csv", "file,captions\na.glb,\"('a chair', 'a seat')\"\n"),
    ("csv", "file,caption\na.glb,\"{'a seat', 'a chair'}\"\n"),
    ("csv", "file,captions\na.glb,a chair | a seat|\n"),
    ("csv", "file,caption,captions\na.glb,a chair,a seat\n"),
    ("csv", "\ufefffile;captions;\r\na.glb;a chair|a seat;\r\n;;\r\n"),
    ("csv", "sep=;\nFile;Captions\na.glb;a chair|a seat\n"),
    ("csv", "file,captions,,\na.glb,a chair|a seat,,\n,,,\n"),
    ("csv", "captions,file\ra chair|a seat,.\\a.glb\r"),
    ("tsv", "file\tcaptions\na.glb\ta chair|a seat\n"),
    ("tsv", "file,captions\na.glb,a chair|a seat\n"),
    ("txt", "file\tcaptions\na.glb\ta chair|a seat\n"),
    ("jsonl", '{"file": "./a.glb", "captions": ["a chair", "a seat", NaN, "nan"]}\n'),
    ("jsonl", '{"file": "a.glb", "caption": ["a chair", "a seat"], "class": NaN, "tags": null}\r\n'),
    ("ndjson", '{"file": "a.glb", "captions": "[\'a chair\', \'a seat\']", "name": "nan"}\n'),
]


@pytest.mark.parametrize(("ending", "text"), LISTS)
def test_lists_and_separators(tmp_path: Path, ending: str, text: str):
    labels = table(tmp_path, text, ending)
    assert captions(labels) == CHAIR
    assert labels["a.glb"].asset_class == labels["a.glb"].name == ""


@pytest.mark.parametrize("text", ["('old' chair)", "('old')", "(a chair)", "('a' + f('b'))", "{'a': 'b'}"])
def test_words_in_brackets_are_words(tmp_path: Path, text: str):
    assert captions(table(tmp_path, f'file,caption\na.glb,"{text}"\n')) == {"a.glb": (text,)}


def test_other_separators_and_encodings_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    table(tmp_path, "file;caption\na.glb;a chair\n")
    assert "separated by semicolons" in caplog.text
    assert captions(table(tmp_path, "file,caption\na.glb,ein Stühlchen\n".encode("utf-16"))) == {
        "a.glb": ("ein Stühlchen",)
    }
    assert "UTF-16" in caplog.text


def test_missing_values_are_no_words(tmp_path: Path):
    (label,) = table(tmp_path, "file,caption,class,name,tags\na.glb,NaN,nan,<NA>,nan\n").values()
    assert label == Label()
    (label,) = table(tmp_path, "file,caption\na.glb,nan bread\n").values()
    assert label.captions == ("nan bread",)


def test_a_text_may_hold_line_ends_of_its_own(tmp_path: Path):
    rows = '{"file":"a.glb","caption":"a chair\u2028with arms"}\n{"file":"b.glb","caption":"b\u0085"}\n'
    assert captions(table(tmp_path, rows, "jsonl")) == {"a.glb": ("a chair\u2028with arms",), "b.glb": ("b",)}
    rows = 'file,caption\na.glb,"a chair\nwith arms"\nb.glb,"a 12"" table"\n'
    assert captions(table(tmp_path, rows)) == {"a.glb": ("a chair\nwith arms",), "b.glb": ('a 12" table',)}


@pytest.mark.parametrize(
    ("ending", "text", "message"),
    [
        ("csv", 'file,caption\na.glb,"a 12" chair\nb.glb,a table\n', "line 2: its quotation marks do not close"),
        ("csv", 'file,caption\na.glb,"a chair\nb.glb,a table\n', "line 2: "),
        ("csv", 'file,caption\nc.glb,x\na.glb,"a chair\nb.glb,a table"\n', "line 3: a quotation mark takes in line 4"),
        ("csv", "file,caption\n", "holds no row"),
        ("csv", "", "holds no row"),
        ("jsonl", "\n", "holds no row"),
        ("csv", "name,caption\na,b\n", "line 1: the header has no column 'file'"),
        ("csv", "file,caption,colour\na.glb,b,c\n", "line 1: unknown column 'colour'"),
        ("csv", "file,caption,caption\na.glb,b,c\n", "line 1: the column 'caption' is there twice"),
        ("csv", "file,caption\na.glb,a red, old chair\n", "line 2: the cell 'old chair' has no column"),
        ("csv", "file,caption,\na.glb,b,c\n", "line 2: the cell 'c' has no column"),
        ("csv", "file,caption\n,a chair\n", "line 2: the column 'file' is empty"),
        ("csv", "file\na.glb\n./a.glb\n", "line 3: './a.glb' is there twice"),
        ("csv", "file\nd\u00e9.glb\nde\u0301.glb\n", "line 3: .* is there twice"),
        ("csv", "file,captions\na.glb,\"['a' 'b']\"\n", "line 2: 'captions' looks like a list"),
        ("csv", "file,captions\na.glb,[red]\n", "line 2: 'captions' looks like a list"),
        ("csv", f"file,captions\na.glb,{'[' * 9000}{']' * 9000}\n", "line 2: 'captions'"),
        ("csv", "file,captions\na.glb,[__import__('os').getcwd()]\n", "line 2: 'captions' looks like a list"),
        ("csv", 'file,captions\na.glb,"[1, 2]"\n', "line 2: 'captions' must be a list of texts"),
        ("csv", "file,caption\na.glb,Stühl\n".encode("latin-1"), "line 2: byte 0xfc is not UTF-8"),
        ("csv", "file,caption\na.glb,b\n".encode("utf-16-le"), "null characters"),
        ("jsonl", '{"file": "a.glb", "caption": 5}', "line 1: 'caption' must be a list of texts"),
        ("jsonl", '{"file": "a.glb", "class": ["a"]}', "line 1: 'class' must be a text"),
        ("jsonl", '{"file": "a.glb", "name": Infinity}', "line 1: not readable as JSON"),
        ("jsonl", '{"file": ["a.glb"]}', "line 1: 'file' must be a text"),
        ("jsonl", '{"file": ' + "[" * 100_000, "line 1: not readable as JSON"),
        ("xlsx", "PK", "is no table that is read"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, ending: str, text: str | bytes, message: str):
    with pytest.raises(UserError, match=message):
        table(tmp_path, text, ending)


def test_a_row_without_a_mesh_names_what_is_like_it(meshes: Path, tmp_path: Path):
    (tmp_path / "labels.csv").write_text("file\nred_armchair-2.obj\nnothing.obj\n")
    with pytest.raises(UserError, match=r"'red_armchair-2.obj'.*2 of 2 rows.*perhaps to 'red_armChair-2.obj'"):
        records(meshes, tmp_path / "labels.csv")


def test_a_missing_table(meshes: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"source\.labels=.*no such file"):
        records(meshes, tmp_path / "nowhere.csv")
