"""Rendezvous of a training's processes at MASTER_ADDR and MASTER_PORT, where the first process keeps a store.

The rendezvous runs in a separate thread: PyTorch's calls block signals while they wait, and wait without limit where
another program accepts connections at this port.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

from fieldforge.errors import UserError
from fieldforge.training.processes import interruption

T = TypeVar("T")
_GRACE = 10.0  # seconds in which PyTorch's own errors come, which know more


def meet(minutes: float) -> tuple[dist.Store, int, int]:
    """The store that all processes share, this process's rank, and the world size, once all processes have joined.

    Args:
        minutes: time limit for waiting for the others.

    Raises:
        UserError: they do not find each other.
        Interrupted: something asks to stop, and the others have not come soon after.
    """
    seconds = 60 * minutes
    try:
        return _in_a_thread(lambda: _meet(seconds), seconds + _GRACE)
    except (dist.DistError, RuntimeError, OSError) as error:
        place, reason = ":".join(_place()), str(error).splitlines()[0].rstrip(".")
        mistake = UserError(
            f"the processes of this training do not find each other at {place} ({reason}): check MASTER_ADDR, "
            "MASTER_PORT and that all were started"
        )
        mistake.everywhere = False  # who is not there cannot say it
        raise mistake from error


def _in_a_thread(work: Callable[[], T], seconds: float) -> T:
    """The result or exception of `work`; after the time limit or a signal its thread is abandoned."""
    outcome: queue.SimpleQueue[T | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(work())
        except Exception as error:
            outcome.put(error)

    threading.Thread(target=run, name="meeting", daemon=True).start()
    deadline, stop = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        with contextlib.suppress(queue.Empty):
            result = outcome.get(timeout=0.1)
            if isinstance(result, Exception):
                raise result
            return result
        if interruption.noted() is not None:
            stop = stop or time.monotonic() + interruption.LONGEST_WAIT  # together they can requeue their job
            if time.monotonic() > stop:
                raise interruption.Interrupted(interruption.noted())
    raise TimeoutError("what listens there does not answer")


def _meet(seconds: float) -> tuple[dist.Store, int, int]:
    deadline = time.monotonic() + seconds
    if os.environ["RANK"] != "0":
        _wait_for_first(deadline)
    else:
        socket.getaddrinfo(_place()[0], None)
    store, rank, size = next(iter(dist.rendezvous("env://", timeout=timedelta(seconds=seconds))))
    return store, rank, size


def _wait_for_first(deadline: float) -> None:
    """Waits until the first process listens; PyTorch's own wait would print pages of C++ frames on failure."""
    host, port = _place()
    while True:
        try:
            socket.create_connection((host, int(port)), 5.0).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def _place() -> tuple[str, str]:
    return os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
