"""Stores: byte ranges of named files in one folder. `LocalStore` reads local disks."""

import os
import re
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from fieldforge.errors import UserError


class BadShardError(UserError):
    """A shard that is missing, truncated or altered, or has another schema than its manifest."""


class BadSampleError(BadShardError):
    """A sample that is truncated, altered or unreadable in a shard whose other samples may be intact."""


class MemberError(UserError):
    """A sample that lacks what a stage reads: `apply_transforms` says of which sample."""


class Store(Protocol):
    """A folder of files. `size` and `read` raise FileNotFoundError if there is no such file, OSError for the rest."""

    url: str

    def size(self, name: str) -> int: ...

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes [start, stop) of a file, all of it by default; fewer if the file ends before."""
        ...

    def read_ahead(self, name: str, start: int, stop: int) -> None:
        """Announces that these bytes will be read soon."""
        ...


ELSEWHERE = ("/dev/", "/proc/", "/sys/", "/net/")  # devices, processes, mounts that reach for a host


def names_elsewhere(path: str) -> bool:
    """Whether a path of unknown origin is an address, a share of another machine, or no place of files at all."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|//|\\\\", path) or "\0" in path:
        return True
    return f"{os.path.abspath(path)}/".startswith(ELSEWHERE) or f"{os.path.realpath(path)}/".startswith(ELSEWHERE)


class LocalStore:
    """A local folder; keeps the most recently used files open."""

    def __init__(self, folder: str | Path, open_files: int = 64) -> None:
        self.folder, self.open_files = Path(folder), open_files
        self.url = str(folder)
        self._open: OrderedDict[str, int] = OrderedDict()

    def _descriptor(self, name: str) -> int:
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        descriptor = os.open(self.folder / name, os.O_RDONLY)
        self._open[name] = descriptor
        if len(self._open) > self.open_files:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def size(self, name: str) -> int:
        return os.stat(self.folder / name).st_size

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        stop = self.size(name) if stop is None else stop
        descriptor = self._descriptor(name)
        pieces = [os.pread(descriptor, stop - start, start)]
        while pieces[-1] and (count := sum(map(len, pieces))) < stop - start:
            pieces.append(os.pread(descriptor, stop - start - count, start + count))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_ahead(self, name: str, start: int, stop: int) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor(name), start, stop - start, os.POSIX_FADV_WILLNEED)

    def __del__(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def __getstate__(self) -> dict:
        # A worker process opens its own descriptors.
        return {**self.__dict__, "_open": OrderedDict()}
