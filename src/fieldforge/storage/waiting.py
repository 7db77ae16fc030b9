"""How long this process has been waiting for data, for those whom a signal asks to stop meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_since: float | None = None


@contextmanager
def for_data(since: float | None = None) -> Iterator[None]:
    """In the block, the main thread can do nothing but wait, perhaps `since` a while (`time.monotonic`) already."""
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
    """How long the present wait has taken; 0 where nothing is waited for."""
    return 0.0 if _since is None else time.monotonic() - _since
