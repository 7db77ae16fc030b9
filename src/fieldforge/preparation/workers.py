"""Many assets on many processes: each result goes to the staging folder, and nothing depends on who worked when."""

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from fieldforge.preparation.asset import prepare_asset
from fieldforge.preparation.records import AssetRecord
from fieldforge.preparation.settings import PreparationSettings
from fieldforge.preparation.staging import Staging
from fieldforge.preparation.stores import AssetError, FileStore, FolderStore, ZipStore

log = logging.getLogger(__name__)

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "IGL_NUM_THREADS")}


@lru_cache(maxsize=8)
def open_store(archive: str, max_file_bytes: int) -> FileStore:
    """Store of a folder or a zip; a process opens each only once."""
    path = Path(archive)
    return FolderStore(path, max_file_bytes) if path.is_dir() else ZipStore(path, max_file_bytes)


def stage_asset(record: AssetRecord, settings: PreparationSettings, seed: int, staging: Staging) -> float:
    """Prepares one asset into the staging folder, or puts the reason why not there. Gives the CPU-seconds it took."""
    start = time.process_time()
    try:
        store = open_store(record.archive, settings.limits.max_file_bytes)
        staging.put(record, prepare_asset(record, store, settings, seed))
    except AssetError as error:
        staging.put_rejected(record, str(error))
    except Exception as error:  # whatever an unforeseen asset does, the others go on; the reason is kept and logged
        log.warning("%s: %s", record.id, traceback.format_exc())
        staging.put_rejected(
            record, f"preparing it failed ({type(error).__name__}: {error}); report it with the asset."
        )
    return time.process_time() - start


def stage_all(
    records: list[AssetRecord],
    settings: PreparationSettings,
    seed: int,
    staging: Staging,
    workers: int,
    done: Callable[[AssetRecord, float], None],
) -> None:
    """Stages all records on `workers` processes; calls `done(record, CPU-seconds)` for each, as they finish.

    If a process dies (out of memory, a crash inside a library), the assets it may have died of are tried again one by
    one, and those that kill their process again are rejected.
    """
    pending = list(records)
    while pending:
        suspects = _stage_until_crash(pending, settings, seed, staging, workers, done)
        for record in suspects:
            if not staging.has(record) and _stage_until_crash([record], settings, seed, staging, 1, done):
                staging.put_rejected(
                    record, "the process died while preparing it, probably out of memory; simplify it."
                )
                done(record, 0.0)
        pending = [record for record in pending if not staging.has(record)] if suspects else []


def _stage_until_crash(
    records: list[AssetRecord],
    settings: PreparationSettings,
    seed: int,
    staging: Staging,
    workers: int,
    done: Callable[[AssetRecord, float], None],
) -> list[AssetRecord]:
    """Stages records until all are done (result: empty) or a process dies (result: what was under way)."""
    waiting = iter(records)
    running: dict[Future[float], AssetRecord] = {}
    with _single_threaded(), _pool(workers) as pool:
        while True:
            while len(running) < workers + 1 and (record := next(waiting, None)) is not None:
                running[pool.submit(stage_asset, record, settings, seed, staging)] = record
            if not running:
                return []
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            if any(isinstance(future.exception(), BrokenProcessPool) for future in finished):
                return list(running.values())
            for future in finished:
                done(running.pop(future), future.result())


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    # Not forked from here, where threads may be running, but from a server that has done nothing but the slow imports.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__, "open3d", "igl"])
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Processes started inside use one thread each."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_worker() -> None:
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.ERROR)


def _leave_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever: nobody else ends it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
