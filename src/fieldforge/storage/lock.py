"""Lock of a directory: an operating system lock on `<directory>/.lock` admits one writing command at a time.

The lock is POSIX's (`lockf`), which NFS and Lustre share between machines. It belongs to the process, not to its
children, and ends with the process. The file names the holder, who touches it every few seconds: this heartbeat decides
where a file system has no locks, or does not share them between machines.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from fieldforge.errors import UserError
from fieldforge.storage.files import writing

NAME = ".lock"
BEAT = 4.0  # seconds between signs of life
_PATIENCE = 3 * BEAT  # without one of another machine's holder: it is gone
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """The holder of a lock. `since`: the holder's clock, ISO 8601."""

    host: str
    pid: int
    since: str

    @staticmethod
    def here() -> Holder:
        return Holder(socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S%z"))

    @staticmethod
    def of(stream: TextIO) -> Holder | None:
        """The holder that the file names; None where it names none."""
        stream.seek(0)
        try:
            return Holder(**json.loads(stream.read()))
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class _Lock:
    """An open file that this process holds, with a thread that touches it."""

    def __init__(self, stream: TextIO):
        self.stream, self.holder = stream, Holder.here()
        self._end = threading.Event()
        try:
            _write(stream, json.dumps(asdict(self.holder)))
        except OSError:
            os.unlink(stream.name)
            raise
        threading.Thread(target=self._touch, name="lock", daemon=True).start()

    def _touch(self) -> None:
        while not self._end.wait(BEAT):
            with contextlib.suppress(OSError, ValueError):
                os.utime(self.stream.fileno())

    def release(self) -> None:
        self._end.set()
        with contextlib.suppress(OSError):
            os.unlink(self.stream.name)
        self.stream.close()


_locks: dict[Path, _Lock] = {}


def take(directory: Path) -> None:
    """Lock `directory`, which is created if it is missing, for this process until the end of `scope`.

    Raises:
        UserError: another command holds the lock (the sentence names it), or the directory cannot be written.
    """
    path = directory.absolute() / NAME
    if path in _locks:
        return
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        stream, locked = _opened(path)
    try:
        holder = Holder.of(stream)
        if locked is False or (holder and (locked is None or holder.host != socket.gethostname()) and _alive(stream)):
            raise _busy(directory, holder)
        with writing(directory):
            lock = _Lock(stream)
        if locked is None:
            time.sleep(BEAT / 4)
            if Holder.of(stream) != lock.holder:  # two have begun at once: the last one that wrote its name goes on
                raise _busy(directory, Holder.of(stream))
        _locks[path] = lock
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk refuses what is still in the buffer once more
            stream.close()
        raise


@contextlib.contextmanager
def scope() -> Iterator[None]:
    """Releases the locks taken inside; a context manager, or a decorator of a function."""
    before = set(_locks)
    try:
        yield
    finally:
        for path in set(_locks) - before:
            _locks.pop(path).release()


def _busy(directory: Path, holder: Holder | None) -> UserError:
    who = f"{holder}" if holder else "it does not say which"
    return UserError(f"another command writes {directory} ({who}): wait until it ends, or stop it")


def _opened(path: Path) -> tuple[TextIO, bool | None]:
    """The file, and whether the lock is this process's now; None where the file system has no locks."""
    while True:
        stream = open(path, "a+")  # noqa: SIM115
        try:
            locked = _locked(stream)
            there = path.exists() and os.path.samestat(os.stat(path), os.fstat(stream.fileno()))
        except BaseException:
            stream.close()
            raise
        if there or locked is False:
            return stream, locked
        stream.close()  # its holder has removed it meanwhile


def _locked(stream: TextIO) -> bool | None:
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _alive(stream: TextIO) -> bool:
    """Whether the holder still touches the file, judged by changes, as machines' clocks differ."""
    log.info("%s names %s: looking whether it is alive", stream.name, Holder.of(stream))
    first, until = os.stat(stream.name).st_mtime_ns, time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        time.sleep(BEAT / 4)
        try:
            if os.stat(stream.name).st_mtime_ns != first:
                return True
        except FileNotFoundError:  # it has just left
            return False
    return False


def _write(stream: TextIO, text: str) -> None:
    stream.seek(0)
    stream.truncate()
    stream.write(text)
    stream.flush()
