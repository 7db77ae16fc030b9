"""The files of a source: below a folder, in a zip, or in the zips of a folder; on a disk or in object storage."""

import zipfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from fieldforge.errors import UserError
from fieldforge.preparation.walk import walk
from fieldforge.readers.file_store import AssetError, FolderStore, normal_member, open_zip, plain_text
from fieldforge.readers.object_files import is_zip
from fieldforge.storage.cloud import is_remote
from fieldforge.storage.object_folder import ObjectFolder

ARCHIVES = ("zip", "tar", "tgz", "gz", "bz2", "xz", "zst", "7z", "rar")
"""Endings of what may hold assets. Only zips are looked into, and only those that lie in a folder or are the source."""
PACKED = "it is an archive, unpack it"


@dataclass(frozen=True)
class AssetFile:
    """One asset: its id, its folder or zip, its name there, its size, and a value that changes with its content."""

    id: str
    archive: str
    member: str
    bytes: int
    revision: str
    reject: str | None = None


def asset_files(place: str, endings: Collection[str]) -> tuple[list[AssetFile], list[tuple[str, str]]]:
    """The files with one of the endings, sorted by their ids, and what was left out of the place, with the reason.

    UserError if there is no such folder or zip.
    """
    if not is_remote(place) and not Path(place).exists():
        raise UserError(f"source.path={place}: there is no such folder or zip; correct the path.")
    if is_zip(place) if is_remote(place) else Path(place).is_file():
        files, left_out = _files_of_zip(place, "", endings)
    else:
        files, left_out = (_objects if is_remote(place) else _files_of_folder)(place, endings)
    return _sorted(files), left_out


def _files_of_folder(place: str, endings: Collection[str]) -> tuple[list[AssetFile], list[tuple[str, str]]]:
    store, walked = FolderStore(Path(place), 0), walk(Path(place))
    files, left_out = [], walked.left_out
    for name in walked.files:
        path = Path(place) / name
        if has_ending(name, endings):
            status = path.stat()
            files.append(AssetFile(name, place, name, status.st_size, f"{status.st_size}-{status.st_mtime_ns}"))
        elif path.suffix.lower() == ".zip":
            try:
                store.size(name)
            except AssetError as error:
                files.append(AssetFile(name, str(path), "", 0, "", str(error)))
            else:
                members, packed = _files_of_zip(str(path), f"{name}/", endings)
                files += members
                left_out += packed
        elif has_ending(name, ARCHIVES):
            left_out.append((name, PACKED))
    return files, left_out


def _objects(place: str, endings: Collection[str]) -> tuple[list[AssetFile], list[tuple[str, str]]]:
    files, left_out = [], []
    for entry in ObjectFolder(place).entries():
        if has_ending(entry.name, endings):
            files.append(AssetFile(entry.name, place, entry.name, entry.bytes, f"{entry.bytes}-{entry.tag}"))
        elif is_zip(entry.name):
            members, packed = _files_of_zip(f"{place.rstrip('/')}/{entry.name}", f"{entry.name}/", endings)
            files += members
            left_out += packed
        elif has_ending(entry.name, ARCHIVES):
            left_out.append((entry.name, PACKED))
    return files, left_out


def _sorted(files: list[AssetFile]) -> list[AssetFile]:
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


def _files_of_zip(path: str, prefix: str, endings: Collection[str]) -> tuple[list[AssetFile], list[tuple[str, str]]]:
    """Files of a zip with one of the endings, with the reason for their rejection where names lead out of it; and the
    archives in it, which are left out."""
    try:
        with open_zip(path) as archive:
            every = {info.filename: info for info in archive.infolist() if not info.is_dir()}  # the last one counts
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        if prefix:
            unread = f"the zip cannot be read ({error}); pack it again."
            return [AssetFile(prefix.rstrip("/"), path, "", 0, "", unread)], []
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
        files.append(AssetFile(f"{prefix}{shown}", path, member, info.file_size, revision, reject))
    return files, [(f"{prefix}{name}", PACKED) for name in every if has_ending(name, ARCHIVES)]


def _unpacked_name(info: zipfile.ZipInfo) -> str:
    """A member's name; zipfile takes UTF-8 that is not marked as such for code page 437."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename
