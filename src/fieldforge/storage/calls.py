"""Calls that block outside of Python, run in threads: they delay neither a signal nor the end of the process."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from fieldforge.storage import waiting

LOOK_SECONDS = 1.0
T = TypeVar("T")
_Work = tuple[Future[Any], Callable[[], Any]]


def interruptible(call: Callable[[], T], look: Callable[[float], None], since: float | None = None) -> T:
    """The result or exception of the call. In the main thread signals are handled during the call, not after it.

    Args:
        call: waits for data.
        look: called every second of the wait, in the main thread alone, with the wait's length in seconds.
        since: start of the wait for these data (`time.monotonic`); None: now.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    outcome: Future[T] = Future()
    with waiting.for_data(since):
        threading.Thread(target=_settle, args=(outcome, call), daemon=True).start()
        return watched(outcome, look)


def watched(outcome: Future[T], look: Callable[[float], None]) -> T:
    """The result of a future; `look` is called every second of the wait with its length."""
    began = time.monotonic()
    while not wait([outcome], LOOK_SECONDS).done:
        look(time.monotonic() - began)
    return outcome.result()


class DaemonPool:
    """Threads for prefetching: unlike those of `ThreadPoolExecutor`, they do not delay the exit of the process.

    Once the pool has no references left, its threads end after the pending calls.
    """

    def __init__(self, size: int, name: str) -> None:
        self._calls: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        for _ in range(size):
            threading.Thread(target=_work, args=(self._calls,), name=name, daemon=True).start()
            weakref.finalize(self, self._calls.put, None)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        outcome: Future[T] = Future()
        self._calls.put((outcome, call))
        return outcome


def _work(calls: queue.SimpleQueue[_Work | None]) -> None:
    while (work := calls.get()) is not None:
        _settle(*work)
        del work  # whatever the call holds, perhaps the pool itself


def _settle(outcome: Future[T], call: Callable[[], T]) -> None:
    try:
        outcome.set_result(call())
    except BaseException as error:  # whoever wants the result meets it
        outcome.set_exception(error)
