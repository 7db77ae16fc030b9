"""The time that this process has been waiting for data, for the handlers of signals."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_since: float | None = None


@contextmanager
def for_data(since: float | None = None) -> Iterator[None]:
    """Marks a block in which the main thread only waits, from `since` (`time.monotonic`) or from now."""
    global _since
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outer = _since
    _since = outer or since or time.monotonic()
    try:
        yield
    finally:
        _since = outer


def seconds() -> float:
    """Length of the present wait; 0 outside of a wait."""
    return 0.0 if _since is None else time.monotonic() - _since
