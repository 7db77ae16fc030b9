"""A file store over the members of an unpacked tar, as WebDataset writes them."""

import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fieldforge.errors import UserError
from fieldforge.readers.file_store import HEAD, AssetError, check_size, missing_file, normal_member


@dataclass(frozen=True)
class TarStore:
    """A `FileStore` of the plain files in a tar, read where they lie.

    Links, sparse files and what leads out of it are not there.
    """

    path: Path
    max_file_bytes: int

    @cached_property
    def members(self) -> dict[str, tuple[int, int]]:
        """Name → where the content begins in the file, and its bytes. UserError for what is no sound tar."""
        places: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(self.path, "r:") as archive:
                for member in archive:
                    try:
                        name = normal_member(member.name)
                    except AssetError:  # nobody can ask for it
                        continue
                    if member.isreg() and not member.issparse():  # the content of a sparse one is in pieces
                        places[name] = (member.offset_data, member.size)
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise UserError(f"{self.path}: cannot be read as a tar ({error}); get the file again.") from error
        return places

    def names(self) -> list[str]:
        return sorted(self.members)

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        start = f"{folder}/" if folder else ""
        inside = [name.removeprefix(start) for name in self.names() if name.startswith(start)]
        folders = sorted({name.partition("/")[0] for name in inside if "/" in name})
        return folders, [name for name in inside if "/" not in name]

    def size(self, name: str) -> int:
        return self._place(name)[1]

    def head(self, name: str) -> bytes:
        return self._content(name, HEAD)

    def read(self, name: str) -> bytes:
        size = self.size(name)
        check_size(name, size, self.max_file_bytes)
        return self._content(name, size)

    def _place(self, name: str) -> tuple[int, int]:
        place = self.members.get(normal_member(name))
        if place is None:
            raise missing_file(name)
        return place

    def _content(self, name: str, most: int) -> bytes:
        begin, size = self._place(name)
        with self.path.open("rb") as file:
            file.seek(begin)
            content = file.read(min(size, most))
        if len(content) < min(size, most):
            raise AssetError(f"the file '{name}' ends too early in its tar; get the tar again.")
        return content
