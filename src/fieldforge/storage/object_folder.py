"""Folders in object storage as a whole: their listing, and writing to them. Needs the extra `cloud`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import BinaryIO

from fieldforge.storage.cloud import ObjectStore, Patience

PAGE = 1000  # objects of one request: what S3 lists, and removes, at most


@dataclass(frozen=True)
class ObjectEntry:
    """An object below a folder: name from there, bytes, and entity tag, which changes with the content."""

    name: str
    bytes: int
    tag: str


class ObjectFolder(ObjectStore):
    """An `ObjectStore` that also lists, writes and removes. Its patience is that of reading."""

    def entries(self) -> list[ObjectEntry]:
        """All objects below the folder, sorted by their names; none if there is no such folder."""
        import obstore

        store = self._connect()
        found: list[ObjectEntry] = []
        while True:
            offset = found[-1].name if found else None

            def page(offset: str | None = offset) -> Sequence[object]:
                return next(iter(obstore.list(store, offset=offset, chunk_size=PAGE)), ())

            rows = self._patiently("", page, self.patience, "listed")
            if not rows:
                return sorted(found, key=lambda entry: entry.name)
            found += [ObjectEntry(row["path"], row["size"], row["e_tag"] or "") for row in rows]

    def listing(self, folder: str = "") -> tuple[list[str], list[str]]:
        """Names of the folders and of the objects in a folder ("": this one) itself, without its own name, sorted."""
        import obstore

        store, start = self._connect(), f"{folder}/" if folder else ""
        call = partial(obstore.list_with_delimiter, store, start or None)
        listed = self._patiently(folder, call, self.patience, "listed")
        folders = [name.removeprefix(start).rstrip("/") for name in listed["common_prefixes"]]
        return sorted(folders), sorted(row["path"].removeprefix(start) for row in listed["objects"])

    def size_or_none(self, name: str) -> int | None:
        """Bytes of an object; None if it is not there."""
        try:
            return self.size(name)
        except FileNotFoundError:
            return None

    def write(self, name: str, payload: bytes | memoryview) -> None:
        """Writes an object whole. Unfinished, UserError as in `read`."""
        import obstore

        store = self._connect()
        self._patiently(name, lambda: obstore.put(store, name, payload), self.patience, "written")

    def remove(self, names: Sequence[str]) -> None:
        """Removes objects, where they are there."""
        import obstore

        store = self._connect()
        for start in range(0, len(names), PAGE):
            page = list(names[start : start + PAGE])
            self._patiently(page[0], lambda page=page: obstore.delete(store, page), self.patience, "removed")


@dataclass(frozen=True)
class ObjectOutput:
    """An `Output` in object storage. It has no lock: one command at a time may write it.

    A failed transfer is begun again as long as `patience` lasts (then Unfinished).
    """

    url: str
    patience: Patience | None = None

    @cached_property
    def _folder(self) -> ObjectFolder:
        return ObjectFolder(self.url, self.patience)

    def begin(self, key: str) -> None:
        self._folder.size_or_none("manifest.json")  # whether it can be reached at all, before any work

    @contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        buffer = io.BytesIO()
        yield buffer
        self._folder.write(name, buffer.getbuffer())

    def read(self, name: str) -> bytes:
        return self._folder.read(name)

    def size(self, name: str) -> int | None:
        return self._folder.size_or_none(name)

    def names(self) -> list[str]:
        return self._folder.listing()[1]

    def all_names(self) -> list[str]:
        return [entry.name for entry in self._folder.entries()]

    def remove(self, names: Iterable[str]) -> None:
        self._folder.remove(list(names))

    def remove_folder(self, name: str) -> None:
        folder = self.below(name)._folder
        folder.remove([entry.name for entry in folder.entries()])

    def below(self, name: str) -> ObjectOutput:
        return ObjectOutput(f"{self.url}/{name}", self.patience)

    def __getstate__(self) -> dict[str, object]:
        # A worker process connects for itself.
        return {"url": self.url, "patience": self.patience}
