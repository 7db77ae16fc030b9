"""A folder or a zip of meshes, with an optional table of what they are."""

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldforge.errors import UserError
from fieldforge.preparation.readers.load import MESH_ENDINGS
from fieldforge.preparation.records import AssetRecord
from fieldforge.preparation.sh3f import class_of
from fieldforge.preparation.stores import AssetError, normal_member

SPLITS = ("train", "heldout")
COLUMNS = ("file", "name", "class", "caption", "captions", "tags", "split", "licence", "creator")


@dataclass(frozen=True)
class Label:
    """What a table says about one file. Empty values leave the default."""

    name: str = ""
    asset_class: str = ""
    captions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    split: str = ""
    licence: str = ""
    creator: str = ""


class FolderSource:
    """An asset source over all meshes below `path`: a folder (zips inside it are looked into as well) or one zip.

    `labels` is a CSV or JSONL table with a column `file` (relative to `path`; in a zip "archive.zip/member") and any of
    the other COLUMNS. Without it an asset is named after its file, and its class is found by the keywords in
    `classes`. `name`, `licence` and `creator` hold for all assets of which the table does not say otherwise.
    """

    def __init__(
        self,
        path: str,
        labels: str | None,
        name: str | None,
        licence: str,
        creator: str,
        classes: Mapping[str, Sequence[str]],
    ) -> None:
        self.path = Path(path)
        self.labels = None if labels is None else Path(labels)
        self.name = self.path.stem if name is None else name
        self.licence, self.creator, self.classes = licence, creator, classes

    def records(self, max_file_bytes: int) -> list[AssetRecord]:
        """All meshes, sorted by their names. UserError if the path or the table cannot be used."""
        if not self.path.exists():
            raise UserError(f"source.path={self.path}: there is no such folder or zip; correct the path.")
        labels = {} if self.labels is None else read_labels(self.labels)
        records = []
        for file in self._files():
            records.append(self._record(file, labels.pop(file.id, Label())))
        if labels:
            raise UserError(
                f"{self.labels}: it names '{next(iter(labels))}', but there is no such mesh below {self.path}; "
                "correct the column 'file'."
            )
        return records

    def fingerprint(self) -> dict[str, str]:
        """Names and sizes of all meshes, and the content of the table, as one checksum."""
        digest = hashlib.sha256()
        for file in self._files():
            digest.update(f"{file.id}\0{file.bytes}\n".encode())
        return {"files": digest.hexdigest()}

    def _record(self, file: "_File", label: Label) -> AssetRecord:
        name = label.name or words_of(file.id)
        return AssetRecord(
            id=file.id,
            name=name,
            archive=str(file.archive),
            file=file.member,
            source=self.name,
            asset_class=label.asset_class or class_of(name, self.classes),
            captions=label.captions,
            tags=label.tags,
            licence=label.licence or self.licence,
            creator=label.creator or self.creator,
            split=label.split or None,
            reject=file.reject,
            revision=file.revision,
        )

    def _files(self) -> list["_File"]:
        if self.path.is_file():
            return sorted(_files_of_zip(self.path, ""), key=lambda file: file.id)
        files = []
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path).as_posix()
            if path.is_file() and is_mesh(name):
                status = path.stat()
                files.append(_File(name, self.path, name, status.st_size, f"{status.st_size}-{status.st_mtime_ns}"))
            elif path.is_file() and path.suffix.lower() == ".zip":
                files += _files_of_zip(path, f"{name}/")
        return sorted(files, key=lambda file: file.id)


@dataclass(frozen=True)
class _File:
    """A mesh: its id, the folder or zip it lies in, its name there, its size, and what changes with its content."""

    id: str
    archive: Path
    member: str
    bytes: int
    revision: str
    reject: str | None = None


def is_mesh(name: str) -> bool:
    """By its ending; hidden files and macOS's copies of metadata are none."""
    parts = name.replace("\\", "/").split("/")
    hidden = parts[-1].startswith(".") or "__MACOSX" in parts
    return not hidden and name.rpartition(".")[2].lower() in MESH_ENDINGS


def _files_of_zip(path: Path, prefix: str) -> list[_File]:
    """The meshes of a zip; those whose names lead out of it come with the reason for their rejection."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir() and is_mesh(info.filename)]
    except (zipfile.BadZipFile, OSError) as error:
        if prefix:
            return [_File(prefix.rstrip("/"), path, "", 0, "", f"the zip cannot be read ({error}); pack it again.")]
        raise UserError(
            f"source.path={path}: cannot be read as a zip ({error}); give a folder or a sound zip."
        ) from error
    files = []
    for info in members:
        try:
            normal_member(info.filename)
            reject = None
        except AssetError as error:
            reject = str(error)
        revision = f"{info.file_size}-{info.CRC}"
        files.append(_File(f"{prefix}{info.filename}", path, info.filename, info.file_size, revision, reject))
    return files


def words_of(file: str) -> str:
    """Words to call a file by: its base name, or its folder's where the base name says nothing ("scene.gltf").

    >>> words_of("chairs/red_armChair-2.glb"), words_of("old sofa/model.obj")
    ('red arm chair 2', 'old sofa')
    """
    parts = re.sub(r"\.zip/", "/", file).split("/")
    base = parts[-1].rpartition(".")[0]
    if base.lower() in ("scene", "model", "mesh", "object", "untitled", "source") and len(parts) > 1:
        base = parts[-2]
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", base)
    words = re.sub(r"[\s_\-.]+", " ", spaced).strip().lower()
    return words or base or "object"


def read_labels(path: Path) -> dict[str, Label]:
    """File → label from a CSV (with a header) or JSONL table. UserError naming line and column of what is wrong."""
    if not path.is_file():
        raise UserError(f"source.labels={path}: there is no such file; correct the path.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8.") from error
    rows = _csv_rows(text) if path.suffix.lower() == ".csv" else _jsonl_rows(text, path)
    labels: dict[str, Label] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        unknown = sorted(str(key) for key in row if key not in COLUMNS)
        if unknown:
            raise UserError(f"{where}: unknown column '{unknown[0]}'; the columns are {', '.join(COLUMNS)}.")
        file = str(row.get("file") or "").strip()
        if not file:
            raise UserError(
                f"{where}: the column 'file' is empty; write the mesh's path relative to source.path there."
            )
        if file in labels:
            raise UserError(f"{where}: '{file}' is there twice; keep one line a file.")
        labels[file] = _label(row, where)
    return labels


def _csv_rows(text: str) -> list[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    return [(reader.line_num, {key if key is not None else "(beyond the header)": value for key, value in row.items()})
            for row in reader]  # fmt: skip


def _jsonl_rows(text: str, path: Path) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    for line, content in enumerate(text.splitlines(), start=1):
        if content.strip():
            try:
                row = json.loads(content)
            except ValueError as error:
                raise UserError(
                    f"{path}, line {line}: not readable as JSON ({error}); write one object a line."
                ) from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {line}: not a JSON object; write one object a line.")
            rows.append((line, row))
    return rows


def _label(row: dict[str, Any], where: str) -> Label:
    split = _text(row, "split")
    if split and split not in SPLITS:
        raise UserError(f"{where}: split '{split}' is unknown; write train or heldout, or leave it empty.")
    captions = [caption for caption in (_text(row, "caption"), *_texts(row, "captions", "|", where)) if caption]
    return Label(
        _text(row, "name"), _text(row, "class"), tuple(dict.fromkeys(captions)), tuple(_texts(row, "tags", ",", where)),
        split, _text(row, "licence"), _text(row, "creator"),
    )  # fmt: skip


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    return "" if value is None else str(value).strip()


def _texts(row: dict[str, Any], key: str, separator: str, where: str) -> list[str]:
    """A JSON list, or a text cut at the separator."""
    value = row.get(key) or []
    parts = value.split(separator) if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise UserError(f"{where}: '{key}' must be a list of texts, or one text with '{separator}' between them.")
    return [part.strip() for part in parts if part.strip()]
