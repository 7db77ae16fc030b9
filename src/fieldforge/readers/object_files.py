"""Assets in object storage: a folder of files, and zips that are read in place."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

from fieldforge.readers.file_store import HEAD, AssetError, check_size, missing_file, normal_member
from fieldforge.storage.cloud import ObjectStore
from fieldforge.storage.object_folder import ObjectFolder

BUFFER_BYTES = 1 << 20  # of a zip that is read at a time


@dataclass(frozen=True)
class ObjectFiles:
    """A `FileStore` of the objects below an address."""

    url: str
    max_file_bytes: int

    @cached_property
    def _folder(self) -> ObjectFolder:
        return ObjectFolder(self.url)

    @cached_property
    def _entries(self) -> dict[str, tuple[list[str], list[str]]]:
        return {}

    def names(self) -> list[str]:
        return [entry.name for entry in self._folder.entries()]

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        try:
            folder = normal_member(folder)
        except AssetError:
            return [], []
        if folder not in self._entries:
            self._entries[folder] = self._folder.listing(folder)
        return self._entries[folder]

    def size(self, name: str) -> int:
        size = self._folder.size_or_none(normal_member(name))
        if size is None:
            raise missing_file(name)
        return size

    def head(self, name: str) -> bytes:
        return self._folder.read(normal_member(name), 0, min(HEAD, self.size(name)))

    def read(self, name: str) -> bytes:
        size = self.size(name)
        check_size(name, size, self.max_file_bytes)
        return self._folder.read(normal_member(name), 0, size)


def is_zip(url: str) -> bool:
    """Whether an address names a zip: object storage tells no files from folders."""
    return url.lower().endswith(".zip")


class ObjectFile(io.RawIOBase):
    """An object as a file that can be read and moved in, such as `zipfile` needs."""

    def __init__(self, url: str):
        folder, _, self._name = url.rpartition("/")
        self._store = ObjectStore(folder)
        self._size = self._store.size(self._name)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer) -> int:
        stop = min(self._position + len(buffer), self._size)
        payload = self._store.read(self._name, self._position, stop) if stop > self._position else b""
        buffer[: len(payload)] = payload
        self._position += len(payload)
        return len(payload)


def open_object(url: str) -> io.BufferedReader:
    """An object as a file. FileNotFoundError if it is not there."""
    return io.BufferedReader(ObjectFile(url), BUFFER_BYTES)
