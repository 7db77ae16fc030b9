"""A local cache of remote shards, limited in size and shared by all ranks and workers of a node."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fieldforge.data.table import ShardEntry, ShardTable
from fieldforge.errors import UserError
from fieldforge.storage.calls import DaemonPool
from fieldforge.storage.cloud import ObjectStore
from fieldforge.storage.files import is_leftover, sync, temporary_name
from fieldforge.storage.store import BadShardError, LocalStore

OPEN_FILES = 8  # a deleted file frees its space when the last reader closes it, so readers keep few open
PARALLEL_DOWNLOADS = 2
TOUCH_SECONDS = 60
WAIT_FOR_ROOM = 0.02  # seconds


@dataclass(frozen=True)
class Cache:
    """Keeps remote shards in `folder`, at most `limit_gb` (10⁹ bytes); the least recently used shards are evicted
    first.
    """

    folder: str | Path
    limit_gb: float

    def __post_init__(self) -> None:
        if self.limit_gb <= 0:
            raise UserError(
                f"data.cache.limit_gb={self.limit_gb}: give the cache a positive size, or set data.cache=null."
            )

    def wrap(self, store: ObjectStore, table: ShardTable, rows: np.ndarray) -> "CachedStore":
        """The store, with its shards in rows `rows (F,)` of its manifest's table cached here."""
        return CachedStore(store, Path(self.folder), int(self.limit_gb * 1e9), table, rows)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Holds an exclusive lock among all processes of this node; the end of a process releases it.

    BlockingIOError where another process holds the lock and `wait` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


class CachedStore:
    """A remote store that fetches each shard whole, once per node, and checks its sha256 before use."""

    def __init__(self, store: ObjectStore, folder: Path, limit_bytes: int, table: ShardTable, rows: np.ndarray) -> None:
        self.store, self.root, self.limit_bytes = store, folder, limit_bytes
        self.folder = folder / hashlib.sha256(store.url.encode()).hexdigest()[:16]
        self.url = f"{store.url} (cached in {self.folder})"
        self.local = LocalStore(self.folder, OPEN_FILES)
        self.table = table
        largest = table[int(rows[np.argmax(table.bytes[rows])])]
        if largest.bytes > limit_bytes:
            raise UserError(
                f"data.cache.limit_gb: {limit_bytes / 1e9:g} GB cannot hold shard {largest.name} of "
                f"{largest.bytes / 1e9:.3g} GB; raise it."
            )
        self._pool: DaemonPool | None = None
        self._coming: set[str] = set()
        self._touched: dict[str, float] = {}

    def size(self, name: str) -> int:
        path = self.folder / name
        try:
            return path.stat().st_size
        except FileNotFoundError:  # not here, or evicted by another process between two looks
            return self.store.size(name)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        if not name.endswith(".tar"):
            return self.store.read(name, start, stop)  # manifests and indexes are small
        while True:
            self.fetch(name)
            try:
                return self.local.read(name, start, stop)
            except FileNotFoundError:
                continue  # another process needed the room in this very moment

    def read_ahead(self, name: str, start: int, stop: int) -> None:
        self._pool = self._pool or DaemonPool(PARALLEL_DOWNLOADS, "cache")
        if name not in self._coming and not (self.folder / name).exists():
            self._coming.add(name)
            self._pool.submit(partial(self._fetch_quietly, name))

    def _fetch_quietly(self, name: str) -> None:
        try:
            self.fetch(name, ahead=True)
        except (OSError, UserError):
            return  # another one fetches it just now; or `read` meets the same problem and reports it
        finally:
            self._coming.discard(name)

    def fetch(self, name: str, ahead: bool = False) -> None:
        """Makes sure that the shard is in the cache. BadShardError if its bytes contradict the manifest.

        A prefetch does not wait for another process, and only briefly for the store.
        """
        path = self.folder / name
        if path.exists():
            self._touch(path)
            return
        with locked(self.root / "locks" / f"{self.folder.name}-{name}.lock", wait=not ahead):
            if not path.exists():
                entry = self.table.find(name)
                assert entry is not None, name
                self._download(entry, path, ahead)

    def _download(self, entry: ShardEntry, path: Path, ahead: bool) -> None:
        temporary = temporary_name(path)
        self._reserve(entry.bytes, temporary)
        digest = hashlib.sha256()
        try:
            with open(temporary, "r+b") as file:

                def write(piece: bytes) -> None:
                    digest.update(piece)
                    file.write(piece)

                self.store.download(entry.name, write, ahead)
                file.truncate()
                sync(file)
            if digest.hexdigest() != entry.sha256:
                raise BadShardError(
                    f"shard {self.store.url}/{entry.name}: its checksum is not the manifest's; "
                    "restore or prepare it again, or set data.on_bad_shard=skip."
                )
            with locked(self.root / "locks" / "room.lock"):  # who counts the room must not miss a file that is renamed
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _reserve(self, size: int, temporary: Path) -> None:
        """Makes room and reserves it by a file of this size, so that no two processes count on the same room.

        Where other processes' unfinished downloads fill the cache, it waits until one of them ends and may be evicted.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            with locked(self.root / "locks" / "room.lock"):
                present = _present(self.root)
                usage = sum(status.st_size for _, status in present)
                oldest_first = sorted(
                    (status.st_mtime_ns, path, status.st_size) for path, status in present if path.suffix == ".tar"
                )
                for _, path, freed in oldest_first:
                    if usage + size <= self.limit_bytes:
                        break
                    path.unlink(missing_ok=True)
                    usage -= freed
                if usage + size <= self.limit_bytes:
                    with open(temporary, "wb") as file:
                        file.truncate(size)
                    return
            time.sleep(WAIT_FOR_ROOM)

    def _touch(self, path: Path) -> None:
        now = time.monotonic()
        if now - self._touched.get(path.name, -TOUCH_SECONDS) >= TOUCH_SECONDS:
            self._touched[path.name] = now
            try:
                os.utime(path)
            except FileNotFoundError:
                return  # evicted meanwhile; `read` fetches it again

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None, "_coming": set()}


def _present(root: Path) -> list[tuple[Path, os.stat_result]]:
    """Shards and unfinished downloads in the cache; removes unfinished downloads of dead processes."""
    entries = []
    for path in root.glob("*/*"):
        if path.suffix == ".tmp" and is_leftover(path):
            path.unlink(missing_ok=True)
        elif path.suffix in (".tar", ".tmp"):
            try:
                entries.append((path, path.stat()))
            except FileNotFoundError:
                continue  # a download that was finished, and renamed, in this very moment
    return entries
