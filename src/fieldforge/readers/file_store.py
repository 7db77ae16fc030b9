"""File stores of assets: a folder or a zip, read by name and never outside of it."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

from fieldforge.errors import UserError
from fieldforge.storage.cloud import is_remote

HEAD = 512
"""Bytes of a file that tell its kind."""


class AssetError(UserError):
    """One asset cannot be used. Its message is the reason written to `rejected.jsonl`."""

    def __init__(self, message: str) -> None:
        super().__init__(plain_text(message))


def missing_file(name: str) -> AssetError:
    """The reason of an asset that needs a file which is not there."""
    return AssetError(f"the file '{name}' is missing; put it beside the asset.")


def plain_text(text: str) -> str:
    """A text that can be written. Bytes that are not UTF-8 (surrogates stand for them) count as Windows-1252."""
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "replace")
    return decode_text(raw)


def decode_text(raw: bytes) -> str:
    """UTF-8, else Windows-1252, the likeliest other encoding; where this has a gap, Latin-1, which has none."""
    for encoding in ("utf-8", "cp1252"):
        with suppress(UnicodeDecodeError):
            return raw.decode(encoding)
    return raw.decode("latin-1")


def normal_member(name: str) -> str:
    """`name` with forward slashes and without `.`/`..`; AssetError if it is absolute or climbs out of its root."""
    parts: list[str] = []
    posix = name.replace("\\", "/")
    if "\0" in name:
        raise AssetError(f"the path {name!r} holds a null character; correct the path.")
    if posix.startswith("/") or (len(posix) > 1 and posix[1] == ":"):
        raise AssetError(f"the path '{name}' is absolute and not inside the asset's folder; use a relative path.")
    for part in PurePosixPath(posix).parts:
        if part == "..":
            if not parts:
                raise AssetError(f"the path '{name}' leads out of the asset's folder; keep files inside of it.")
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


@dataclass
class Notes:
    """Notes of losses in a usable asset: a missing texture, a missing material file."""

    texts: list[str]

    def add(self, text: str) -> None:
        text = plain_text(text)
        if text not in self.texts:
            self.texts.append(text)


def reachable_folders(root: Path) -> tuple[Path, ...]:
    """The real folders in which links below `root` may end: itself; of the Hugging Face hub's cache the files too.

    There `<model>/snapshots/<revision>/a.glb` is a link to `<model>/blobs/<checksum>`.
    """
    real = root.resolve()
    for folder in (real, *real.parents):
        if folder.name == "snapshots":
            blobs = folder.parent / "blobs"
            return (real, blobs) if blobs.is_dir() and not blobs.is_symlink() else (real,)
    return (real,)


class FileStore(Protocol):
    """Files by name, relative to a root, with forward slashes."""

    def names(self) -> list[str]:
        """All file names, sorted."""
        ...

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files in a folder ("": the root), sorted; none if it is not there."""
        ...

    def size(self, name: str) -> int:
        """Bytes of a file, without reading it."""
        ...

    def head(self, name: str) -> bytes:
        """The first HEAD bytes of a file; AssetError as in `read`."""
        ...

    def read(self, name: str) -> bytes:
        """Content of a file; AssetError if it is not there, too big or damaged, or lies outside of the root."""
        ...


@dataclass(frozen=True)
class FolderStore:
    """Files below a folder. Links are followed where they end in one of `reachable_folders`.

    The link `typed`, which a user has named, is followed wherever it ends: nothing in a stranger's folder can name it.
    """

    root: Path
    max_file_bytes: int
    typed: str | None = None

    @cached_property
    def _reachable(self) -> tuple[Path, ...]:
        return reachable_folders(self.root)

    def names(self) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        try:
            path = (self.root / normal_member(folder)).resolve()
            if not any(map(path.is_relative_to, self._reachable)):
                return [], []
            kinds = [(name, os.path.isdir(path / name)) for name in sorted(os.listdir(path))]
        except (AssetError, OSError, RuntimeError):  # not there, or a link to itself
            return [], []
        return [name for name, is_folder in kinds if is_folder], [name for name, is_folder in kinds if not is_folder]

    def _path(self, name: str) -> Path:
        try:
            path = (self.root / normal_member(name)).resolve()
        except (OSError, RuntimeError) as error:  # too long a name, or a link to itself
            raise AssetError(f"the file '{name}' cannot be read ({error}); put it beside the asset.") from error
        if name != self.typed and not any(map(path.is_relative_to, self._reachable)):
            raise AssetError(f"the link '{name}' leads out of the asset's folder; put the file itself there.")
        if not os.path.isfile(path):  # also of a name too long to ask for
            raise missing_file(name)
        return path

    def size(self, name: str) -> int:
        return self._path(name).stat().st_size

    def head(self, name: str) -> bytes:
        with self._path(name).open("rb") as file:
            return file.read(HEAD)

    def read(self, name: str) -> bytes:
        path = self._path(name)
        check_size(name, path.stat().st_size, self.max_file_bytes)
        return path.read_bytes()


@dataclass(frozen=True)
class ZipStore:
    """Members of a zip, read in memory: nothing is ever unpacked to disk.

    Sizes are checked before a byte is unpacked, and zipfile never unpacks more than the size that was checked.
    """

    path: Path | str  # or an address in object storage
    max_file_bytes: int
    max_ratio: float = 1000.0

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        try:
            return open_zip(self.path)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(f"{self.path}: cannot be read as a zip ({error}); get the file again.") from error

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        return {info.filename: info for info in self._archive.infolist() if not info.is_dir()}

    @cached_property
    def _by_path(self) -> dict[str, str]:
        """Normal path → the member's own name, which has backslashes where Windows packed it."""
        paths: dict[str, str] = {}
        for name in sorted(self._members):
            with suppress(AssetError):  # it leads out of the zip: nobody can ask for it
                paths.setdefault(normal_member(name), name)
        return paths

    @cached_property
    def _tree(self) -> dict[str, tuple[list[str], list[str]]]:
        folders: dict[str, set[str]] = {}
        files: dict[str, list[str]] = {}
        for path in sorted(self._by_path):
            folder, _, base = path.rpartition("/")
            files.setdefault(folder, []).append(base)
            while folder:
                above, _, base = folder.rpartition("/")
                folders.setdefault(above, set()).add(base)
                folder = above
        return {folder: (sorted(folders.get(folder, ())), files.get(folder, [])) for folder in {*folders, *files}}

    def names(self) -> list[str]:
        return sorted(self._members)

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        return self._tree.get(folder, ([], []))

    def _info(self, name: str) -> zipfile.ZipInfo:
        path = normal_member(name)
        info = self._members.get(name) or self._members.get(self._by_path.get(path, path))
        if info is None:
            raise missing_file(name)
        return info

    def size(self, name: str) -> int:
        return self._info(name).file_size

    def head(self, name: str) -> bytes:
        info = self._info(name)
        with _unpacking(name), self._archive.open(info) as file:
            return file.read(HEAD)

    def read(self, name: str) -> bytes:
        info = self._info(name)
        check_size(name, info.file_size, self.max_file_bytes)
        if info.file_size > 2**20 and info.file_size > self.max_ratio * max(info.compress_size, 1):
            raise AssetError(
                f"the file '{name}' unpacks to {info.file_size // max(info.compress_size, 1)} times its packed size, "
                "which looks like a zip bomb; pack it again."
            )
        with _unpacking(name):
            return self._archive.read(info)


def open_zip(path: Path | str) -> zipfile.ZipFile:
    """A zip on a disk or in object storage, which is read in place. BadZipFile, OSError."""
    if not is_remote(path):
        return zipfile.ZipFile(path)
    from fieldforge.readers.object_files import open_object

    return zipfile.ZipFile(open_object(str(path)))


@contextmanager
def _unpacking(name: str) -> Iterator[None]:
    """Turns errors of unpacking a zip member into an AssetError."""
    try:
        yield
    except MemoryError:  # the machine's matter
        raise
    except Exception as error:  # zipfile, zlib and lzma each have their own
        raise AssetError(f"the file '{name}' cannot be unpacked ({error}); pack it again.") from error


def check_size(name: str, size: int, limit: int) -> None:
    """AssetError if a file is bigger than the limit."""
    if size > limit:
        raise AssetError(
            f"the file '{name}' has {size / 2**20:,.0f} MB and the limit is {limit / 2**20:,.0f} MB; "
            "make it smaller or raise preparation.limits.max_file_mb."
        )
