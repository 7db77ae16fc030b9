"""Outputs: folders that results are written to, on a disk or in object storage."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from fieldforge.errors import UserError
from fieldforge.storage import lock
from fieldforge.storage.cloud import SCHEMES, is_remote
from fieldforge.storage.files import atomic_file, is_temporary, make_folder, remove_leftovers, writing
from fieldforge.storage.object_folder import ObjectOutput

NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class Output(Protocol):
    """A folder of files, which are whole under their names or not there. UserError where it cannot be written."""

    @property
    def url(self) -> str: ...

    def begin(self, key: str) -> None:
        """Prepares the folder for the one command that writes it. UserError, which names the config `key`, if that
        cannot be; on a disk also while another command writes there."""
        ...

    def file(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file to write. It takes its name when the block ends without an exception."""
        ...

    def read(self, name: str) -> bytes:
        """Content of a file. FileNotFoundError if it is not there."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if it is not there."""
        ...

    def names(self) -> list[str]:
        """Names of the files in the folder itself, sorted."""
        ...

    def all_names(self) -> list[str]:
        """Names of the files in the folder and in all folders inside it, with forward slashes, sorted."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Removes files, where they are there."""
        ...

    def remove_folder(self, name: str) -> None:
        """Removes a folder inside this one with all that it holds, where it is there."""
        ...

    def below(self, name: str) -> Output:
        """The output of a folder inside this one."""
        ...


def open_output(place: str | Path) -> Output:
    """The output at a path or an address. UserError for an address that cannot be written."""
    if not is_remote(place):
        return LocalOutput(Path(place))
    if str(place).startswith(("http://", "https://")):
        writable = ", ".join(scheme for scheme in SCHEMES if not scheme.startswith("http"))
        raise UserError(f"{place}: a web server cannot be written to; give a folder, or one of {writable}.")
    return ObjectOutput(str(place).rstrip("/"))


@dataclass(frozen=True)
class LocalOutput:
    """A folder on a disk, perhaps one that several machines share."""

    folder: Path

    @property
    def url(self) -> str:
        return str(self.folder)

    def begin(self, key: str) -> None:
        make_folder(self.folder, key)
        lock.take(self.folder)
        remove_leftovers(self.folder)

    def file(self, name: str) -> AbstractContextManager[BinaryIO]:
        return atomic_file(self.folder / name)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def size(self, name: str) -> int | None:
        try:
            return os.stat(self.folder / name).st_size
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError) or error.errno in NOT_THERE:
                return None
            raise

    def names(self) -> list[str]:
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_file() and not is_temporary(entry.name))
        return []

    def all_names(self) -> list[str]:
        found = []
        for folder, _, files in os.walk(self.folder):
            inside = Path(folder).relative_to(self.folder)
            found += [(inside / name).as_posix() for name in files if not is_temporary(name)]
        return sorted(found)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            with writing(self.folder / name):
                (self.folder / name).unlink(missing_ok=True)

    def remove_folder(self, name: str) -> None:
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def below(self, name: str) -> LocalOutput:
        return LocalOutput(self.folder / name)
