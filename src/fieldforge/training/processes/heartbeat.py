"""Signs of life in the store of a training: who waits for another process's work learns that it is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch.distributed as dist

BEAT = 5.0  # seconds between signs
PATIENCE = 120.0  # without one: the process is gone


@contextmanager
def alive(store: dist.Store, work: str, rank: int) -> Iterator[None]:
    """Inside this context the process gives signs of life, below the key of the work in hand."""
    end, key = threading.Event(), f"{work}/alive/{rank}"
    store.add(key, 1)  # from now on it is known that it has begun

    def beat() -> None:
        with suppress(RuntimeError):  # the store is gone: whoever waits for it meets that, too
            while not end.wait(BEAT):
                store.add(key, 1)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(timeout=BEAT)


class Sign:
    """What is seen of another process's signs of life."""

    def __init__(self, store: dist.Store, work: str, rank: int):
        self.store, self.key, self.rank = store, f"{work}/alive/{rank}", rank
        self._count, self._since, self._looked = -1, time.monotonic(), 0.0

    def look(self) -> None:
        """Called while one waits. RuntimeError where a process that gave signs has given none for long."""
        now = time.monotonic()
        if now - self._looked < BEAT:
            return
        self._looked = now
        count = self.store.add(self.key, 0)
        if count != self._count:
            self._count, self._since = count, now
        elif count > 0 and now - self._since > PATIENCE:
            # In the words by which `ranks.is_loss` knows a lost process.
            raise RuntimeError(f"process {self.rank} is gone (connection closed: no sign of life for {PATIENCE:.0f} s)")
