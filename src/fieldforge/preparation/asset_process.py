"""The worker process: it stages or rejects one asset after another, and reports failures of the machine."""

import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path

from fieldforge.errors import Unfinished, UserError
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.faults import lacks_memory, machine_fault
from fieldforge.preparation.recipe import Recipe
from fieldforge.preparation.staging import Staging
from fieldforge.readers.file_store import AssetError, FileStore, FolderStore, ZipStore
from fieldforge.readers.object_files import ObjectFiles, is_zip
from fieldforge.readers.tar_store import TarStore
from fieldforge.storage.cloud import is_remote
from fieldforge.storage.files import writing

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one asset. `reason`: of its rejection; `fault`: why the preparation must end; `no_memory`: the
    refused memory request."""

    cpu_seconds: float = 0.0
    reason: str | None = None
    fault: UserError | None = None
    no_memory: str | None = None


@lru_cache(maxsize=8)
def open_store(archive: str, max_file_bytes: int) -> FileStore:
    """Store of a folder or a zip, on a disk or in object storage, or of a tar; a process opens each only once."""
    if is_remote(archive):
        return ZipStore(archive, max_file_bytes) if is_zip(archive) else ObjectFiles(archive, max_file_bytes)
    path = Path(archive)
    if path.suffix == ".tar" and path.is_file():
        return TarStore(path, max_file_bytes)
    return FolderStore(path, max_file_bytes) if path.is_dir() else ZipStore(path, max_file_bytes)


def stage_asset(record: AssetRecord, recipe: Recipe, seed: int, staging: Staging) -> Outcome:
    """Prepares one asset into the staging folder, or writes the reason of its rejection there."""
    start = time.process_time()
    try:
        with writing(Path(staging.output.url)):  # readers have met their own errors of the system within
            reason = _stage(record, recipe, seed, staging)
    except MemoryError as error:
        return Outcome(no_memory=str(error) or "no memory is left")
    except UserError as error:
        kind = Unfinished if isinstance(error, Unfinished) else UserError
        return Outcome(fault=kind(str(error)))  # alone: what caused it may not be fit to be sent
    return Outcome(time.process_time() - start, reason)


def _stage(record: AssetRecord, recipe: Recipe, seed: int, staging: Staging) -> str | None:
    """Stages an asset, or rejects it and returns the reason. UserError, MemoryError: failures of the machine."""
    try:
        store = open_store(record.archive, recipe.limits.max_file_bytes)
        prepared = recipe.prepare(record, store, seed)
    except Exception as error:  # whatever an unforeseen asset does, the others go on
        if lacks_memory(error):
            raise MemoryError(str(error)) from error
        if (fault := machine_fault(error, record)) is not None:
            raise fault from error
        if not isinstance(error, AssetError):
            log.warning("%s: %s", record.id, traceback.format_exc())
        unforeseen = f"preparing it failed ({type(error).__name__}: {error}); report it with the asset."
        reason = str(error) if isinstance(error, AssetError) else unforeseen
        staging.put_rejected(record, reason)
        return reason
    staging.put(record, prepared)
    return None


def work(connection: Connection, recipe: Recipe, seed: int, staging: Staging) -> None:
    """Body of a worker process: reports its start, then stages assets until its parent is gone.

    The slow imports come first where no fork server has done them: they are not the first asset's time.
    """
    if "torch" in sys.modules:  # of the server from which processes are forked
        sys.modules["torch"].set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _leave_with_parent()
    logging.basicConfig(level=logging.ERROR)
    for module in recipe.preload:
        importlib.import_module(module)
    try:
        connection.send(None)
        while True:
            connection.send(stage_asset(connection.recv(), recipe, seed, staging))
    except (EOFError, ConnectionError):
        os._exit(1)


def _leave_with_parent() -> None:
    """Ends the process after its parent was killed; nothing else would end it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    if fcntl is not None:
        # The end of this pipe is the parent's end. SIGIO, which tells of it, ends a process even inside a library that
        # lets no thread of Python run.
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
