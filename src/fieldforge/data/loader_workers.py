"""Worker processes of data loaders: they ignore signals to the training, and end with the training."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any
from weakref import WeakSet

import torch.utils.data  # noqa: F401  # its exit handler is there first, and so runs after the one below

from fieldforge.errors import Unfinished
from fieldforge.storage.files import is_alive

MOST = 8  # workers of a process where their number is "auto"
ROOM = 256 * 2**20  # bytes of shared memory for the batches of one of them; containers often have 64 MiB in all
SHARED = "/dev/shm"
PAUSE = 0.5  # seconds between looks at the parent
open_iterators: WeakSet[Any] = WeakSet()  # of data loaders with workers


def by_cores(processes: int, gpu: bool) -> int:
    """Workers of one of `processes` on this machine.

    On a GPU each has a core and one is left, as far as shared memory goes; at least 1. Where a launcher has bound the
    process to some of the cores, these are its own. On a CPU the networks need the cores: one worker reads ahead.
    """
    if not gpu:
        return 1
    every = os.cpu_count() or 1
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else every
    room = shutil.disk_usage(SHARED).free // (ROOM * processes) if os.path.isdir(SHARED) else MOST
    return max(1, min(MOST, room, (own if own < every else every // processes) - 1))


def fork_server() -> ForkServerContext:
    """Starts processes without this process's threads and connections.

    The fork server imports the modules once for all of them: each process by itself would take seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "fieldforge.data.datamodule"])
    return context


def begin(worker: int) -> None:
    """Initialises a worker: it ignores signals, which are the training's to handle, and watches the training.

    Schedulers and terminals signal whole process groups.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    leave_with(parent.pid, code=1)


def leave_with(pid: int, code: int, grace: float = 0.0) -> None:
    """End this process `grace` seconds after its parent, or process `pid`, is gone; a thread looks."""
    parent = os.getppid()  # that of a fork server, perhaps

    def watch() -> None:
        while os.getppid() == parent and is_alive(pid):
            time.sleep(PAUSE)
        time.sleep(grace)
        os._exit(code)

    threading.Thread(target=watch, daemon=True).start()


def loss_of_worker(error: BaseException) -> Unfinished | None:
    """The sentence for an error by which a data loader says that a worker was killed; None for others."""
    text = str(error)
    if not isinstance(error, RuntimeError) or "DataLoader worker" not in text:
        return None
    how = text.partition("killed by signal: ")[2].partition(".")[0]
    return Unfinished(
        f"a data worker is gone ({how.lower() or 'it left unexpectedly'}): if memory or /dev/shm has run out, lower "
        "data.num_workers or data.prefetch_batches; the same command goes on from the last checkpoint"
    )


@contextmanager
def none_left() -> Iterator[None]:
    """Workers started inside the block end with it, however it ends."""
    before = set(multiprocessing.active_children())
    try:
        yield
    finally:
        _end(child for child in multiprocessing.active_children() if child not in before)


def _end(children: Iterable[BaseProcess]) -> None:
    """Kills the workers that end with this process anyway (they ignore a TERM), and forgets them."""
    children = [child for child in children if child.daemon]
    if not children:
        return
    for iterator in list(open_iterators):
        iterator._shutdown = True  # it would ask them through a lock that one of them may have held
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if main else None  # torch would call it an error
    for child in children:
        child.kill()
    for child in children:
        child.join(5)
    if main:
        signal.signal(signal.SIGCHLD, before)


@atexit.register
def _end_all() -> None:
    """Ends all workers before Python's exit handler, which would wait for them without limit."""
    _end(multiprocessing.active_children())
