"""Asset source: a folder or a zip of meshes, with an optional table of labels."""

import difflib
import hashlib
import logging
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from fieldforge.errors import UserError
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.labels import Label, read_labels, same_name
from fieldforge.preparation.sh3f import class_of
from fieldforge.preparation.walk import walk
from fieldforge.readers.file_store import AssetError, FolderStore, normal_member, plain_text
from fieldforge.readers.load import MESH_ENDINGS

log = logging.getLogger(__name__)
ARCHIVES = ("zip", "tar", "tgz", "gz", "bz2", "xz", "zst", "7z", "rar")
"""Endings of what may hold assets. Only zips are looked into, and only those that lie in a folder or are the source."""
PACKED = "it is an archive, unpack it"


class FolderSource:
    """An asset source over all meshes below `path`: a folder (with the zips inside it) or one zip.

    `labels` is a table (see `labels.py`) with a column `file` (relative to `path`; in a zip "archive.zip/member") and
    any of its other COLUMNS. Without it an asset is named after its file, and its class is found by the keywords in
    `classes`. Links are followed where they end in one of `stores.reachable_folders`. `name`, `licence` and `creator`
    hold for all assets of which the table does not say otherwise.
    """

    endings: ClassVar[tuple[str, ...]] = MESH_ENDINGS

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
        self.name = plain_text(self.path.stem) if name is None else name
        self.licence, self.creator, self.classes = licence, creator, classes

    def records(self, max_file_bytes: int) -> list[AssetRecord]:
        """All assets, sorted by their names. UserError if the path or the table cannot be used."""
        if not self.path.exists():
            raise UserError(f"source.path={self.path}: there is no such folder or zip; correct the path.")
        labels = {} if self.labels is None else read_labels(self.labels, self.endings)
        files, left_out = self._files()
        if left_out:
            name, reason = left_out[0]
            log.warning("%s: %d links, folders or archives are left out; the first is '%s': %s",
                        plain_text(str(self.path)), len(left_out), plain_text(name), reason)  # fmt: skip
        records = [
            self._record(
                file.id,
                labels.get(same_name(file.id), Label()),
                archive=str(file.archive),
                file=file.member,
                reject=file.reject,
                revision=file.revision,
            )
            for file in files
        ]
        missing = labels.keys() - {same_name(file.id) for file in files}
        if missing:
            first = next(file for file in labels if file in missing)
            near = difflib.get_close_matches(first, [file.id for file in files], n=1)
            raise UserError(
                f"{self.labels}: it names '{first}', but there is no such file below {self.path} "
                f"({len(missing)} of {len(labels)} rows); correct the column 'file'"
                + (f", perhaps to '{near[0]}'." if near else ".")
            )
        return records

    def fingerprint(self) -> dict[str, str]:
        """Names and sizes of all meshes, and the content of the table, as one checksum."""
        digest = hashlib.sha256()
        for file in self._files()[0]:
            digest.update(f"{file.id}\0{file.bytes}\n".encode())
        return {"files": digest.hexdigest()}

    def _record(self, file_id: str, label: Label, **place: Any) -> AssetRecord:
        """The record of one file; `place`: its location as in a record."""
        name = label.name or words_of(file_id)
        return AssetRecord(
            id=file_id,
            name=name,
            source=self.name,
            asset_class=label.asset_class or class_of(name, self.classes),
            captions=label.captions,
            tags=label.tags,
            licence=label.licence or self.licence,
            creator=label.creator or self.creator,
            split=label.split or None,
            **place,
        )

    def _files(self) -> tuple[list["_File"], list[tuple[str, str]]]:
        """The files, sorted by their ids, and what was left out of the folder, with the reason."""
        if self.path.is_file():
            files, left_out = _files_of_zip(self.path, "", self.endings)
            return _sorted(files), left_out
        store = FolderStore(self.path, 0)
        walked = walk(self.path)
        files, left_out = [], walked.left_out
        for name in walked.files:
            path = self.path / name
            if has_ending(name, self.endings):
                status = path.stat()
                files.append(_File(name, self.path, name, status.st_size, f"{status.st_size}-{status.st_mtime_ns}"))
            elif path.suffix.lower() == ".zip":
                try:
                    store.size(name)
                except AssetError as error:
                    files.append(_File(name, path, "", 0, "", str(error)))
                else:
                    members, packed = _files_of_zip(path, f"{name}/", self.endings)
                    files += members
                    left_out += packed
            elif has_ending(name, ARCHIVES):
                left_out.append((name, PACKED))
        return _sorted(files), left_out


@dataclass(frozen=True)
class _File:
    """One asset: its id, its folder or zip, its name there, its size, and a value that changes with its content."""

    id: str
    archive: Path
    member: str
    bytes: int
    revision: str
    reject: str | None = None


def _sorted(files: list[_File]) -> list[_File]:
    """Files sorted by ids that are unique and printable."""
    known: set[str] = set()
    result = []
    for file in sorted(files, key=lambda file: file.id):
        asset_id = base = plain_text(file.id)
        number = 2
        while asset_id in known:
            start, dot, ending = base.rpartition(".")
            asset_id, number = f"{start}~{number}{dot}{ending}", number + 1
        known.add(asset_id)
        result.append(replace(file, id=asset_id))
    return sorted(result, key=lambda file: file.id)


def has_ending(name: str, endings: Collection[str]) -> bool:
    """Whether the name has one of the endings; hidden files and macOS's copies of metadata have none."""
    parts = name.replace("\\", "/").split("/")
    hidden = parts[-1].startswith(".") or "__MACOSX" in parts
    return not hidden and name.rpartition(".")[2].lower() in endings


def _files_of_zip(path: Path, prefix: str, endings: Collection[str]) -> tuple[list[_File], list[tuple[str, str]]]:
    """Files of a zip with one of the endings, with the reason for their rejection where names lead out of it; and the
    archives in it, which are left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            every = {info.filename: info for info in archive.infolist() if not info.is_dir()}  # the last one counts
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        if prefix:
            unread = f"the zip cannot be read ({error}); pack it again."
            return [_File(prefix.rstrip("/"), path, "", 0, "", unread)], []
        raise UserError(
            f"source.path={path}: cannot be read as a zip ({error}); give a folder or a sound zip."
        ) from error
    files = []
    for info in filter(lambda info: has_ending(info.filename, endings), every.values()):
        shown = _unpacked_name(info)
        try:
            shown, member, reject = normal_member(shown), normal_member(info.filename), None
        except AssetError as error:
            member, reject = info.filename, str(error)
        revision = f"{info.file_size}-{info.CRC}"
        files.append(_File(f"{prefix}{shown}", path, member, info.file_size, revision, reject))
    return files, [(f"{prefix}{name}", PACKED) for name in every if has_ending(name, ARCHIVES)]


def _unpacked_name(info: zipfile.ZipInfo) -> str:
    """A member's name; zipfile takes UTF-8 that is not marked as such for code page 437."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def words_of(file: str) -> str:
    """Words of a file's name: its base name, or its folder's where the base name is generic ("scene.gltf").

    >>> words_of("chairs/red_armChair-2.glb"), words_of("old sofa/model.obj")
    ('red arm chair 2', 'old sofa')
    """
    parts = re.sub(r"\.zip/", "/", file.replace("\\", "/")).split("/")
    base = parts[-1].rpartition(".")[0]
    if base.lower() in ("scene", "model", "mesh", "object", "untitled", "source") and len(parts) > 1:
        base = parts[-2]
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", base)
    words = re.sub(r"[\s_\-.]+", " ", spaced).strip().lower()
    return words or base or "object"
