"""Files that are whole or not there: written beside their place, synced, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the name `path` only when the block ends without an exception and its bytes are on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with open(temporary, "wb") as file:
            yield file
            sync(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Hidden neighbour of `path`, of this process alone."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files of processes of this machine that are no longer alive."""
    for leftover in folder.glob(".*.*.tmp"):
        pid = leftover.name.split(".")[-2]
        if pid.isdigit() and (int(pid) == os.getpid() or not os.path.exists(f"/proc/{pid}")):
            leftover.unlink(missing_ok=True)
