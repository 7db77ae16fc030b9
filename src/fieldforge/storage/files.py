"""Atomic files: written under a temporary name, synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fieldforge.errors import UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MACHINE = frozenset(
    getattr(errno, name)
    for name in (
        "ENOSPC", "EDQUOT", "EROFS", "EIO", "EFBIG", "EMFILE", "ENFILE", "ENOMEM", "ENODEV", "ENXIO", "ESTALE",
        "ETIMEDOUT", "EREMOTEIO", "ENOTCONN", "EHOSTDOWN", "ESHUTDOWN",
    )
    if hasattr(errno, name)
)  # fmt: skip
"""Errors of a disk or a machine, whatever is read from it or written to it: the same call may work tomorrow."""
ABANDONED = 600.0  # seconds without a change, after which an unfinished file of another machine belongs to nobody


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the name `path` only when the block ends without an exception and its bytes are on disk.

    Raises:
        UserError: it cannot be written; what was there before is untouched.
    """
    temporary = temporary_name(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(temporary, "wb")  # noqa: SIM115
    try:
        with writing(path, NO_ROOM):  # the block may read files too
            yield file
        with writing(path):
            sync(file)
            file.close()
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # a full disk refuses what is still in the buffer once more
            file.close()
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, numbers: Collection[int] | None = None) -> Iterator[None]:
    """Inside this context a system error (with `numbers`: only these) becomes one sentence about `path`.

    Raises:
        UserError: the disk is full, the place is not writable, …
    """
    try:
        yield
    except OSError as error:
        if numbers is not None and error.errno not in numbers:
            raise
        raise UserError(
            f"cannot write {path} ({error.strerror or error}): what was there is untouched, make room or give a place "
            "that can be written, and run the same command again"
        ) from error


def make_folder(path: Path, key: str) -> Path:
    """The folder `path`, created if it is missing. UserError, which names the config `key`, if it cannot be used."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{key}={path} cannot be made a folder to write to ({reason}): give another place.") from error
    return path


def temporary_name(path: Path) -> Path:
    """Hidden neighbour of `path`, of this call alone: threads of one process may write the same file."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}@{_machine()}.tmp")


def sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def is_temporary(name: str) -> bool:
    """Whether a file has a `temporary_name`."""
    return name.startswith(".") and name.endswith(".tmp")


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that belong to no process alive.

    Other machines may write to the same folder, and their processes are unknown here: a file without a change for a
    long time counts as abandoned.
    """
    for leftover in folder.glob(".*.*.tmp"):
        if _owner(leftover) == (os.getpid(), _machine()) or is_leftover(leftover):
            with contextlib.suppress(OSError):
                leftover.unlink()


def is_leftover(temporary: Path) -> bool:
    """Whether a file with a `temporary_name` belongs to no process alive."""
    pid, machine = _owner(temporary)
    if pid is not None and machine == _machine():
        return not is_alive(pid)
    try:
        return time.time() - temporary.stat().st_mtime > ABANDONED
    except OSError:
        return False  # finished or removed meanwhile


def _owner(temporary: Path) -> tuple[int | None, str]:
    """Process and machine of the writer, from the file's name."""
    call, _, machine = temporary.name.split(".")[-2].partition("@")
    pid = call.partition("-")[0]
    return int(pid) if pid.isdigit() else None, machine or _machine()


def is_alive(pid: int) -> bool:
    """Whether there is such a process on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def _machine() -> str:
    name = socket.gethostname().replace(".", "-").replace("/", "-") or "machine"
    # Names of a cluster's machines often differ at their ends alone.
    return name if len(name) <= 40 else f"{name[:30]}-{hashlib.sha256(name.encode()).hexdigest()[:9]}"
