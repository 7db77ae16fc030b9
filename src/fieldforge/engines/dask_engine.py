"""An engine on many machines: the workers of a Dask cluster. Needs the extra `cluster`.

Dask and not Ray, which does all of this too: it is pure Python of 10 MB where Ray has 250, its workers start by one
command that any batch system can run, and a killed worker's tasks move to others without a word in the log.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from fieldforge.engines.engine import Function, Lost
from fieldforge.errors import Unfinished, UserError, install_command
from fieldforge.ranges import Count, Positive

LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class DaskEngine:
    """The workers of a Dask cluster, which may come and go.

    Args:
        address: of the scheduler (`tcp://10.0.0.1:8786`, `tls://…`), or a file that it wrote (`--scheduler-file`).
        batch: items of a call. A worker that dies loses at most the item that it is at.
        minutes: without any worker, after which the command gives up; the same command goes on.
    """

    address: str
    batch: Count = 8
    minutes: Positive = 10.0
    _clients: list[Any] = field(default_factory=list, repr=False, compare=False)

    @property
    def processes(self) -> int:
        return 1

    def batches(self, items: Sequence[Any]) -> list[list[Any]]:
        return [list(items[start : start + self.batch]) for start in range(0, len(items), self.batch)]

    def about(self) -> str:
        workers, machines = self._workers()
        return f"{workers} workers on {machines} machines"

    def run(self, function: Function, batches: Sequence[list[Any]]) -> Iterator[Any]:
        from distributed import KilledWorker, as_completed
        from distributed.client import FutureCancelledError

        client, waiting = self._client(), list(reversed(batches))
        running: dict[Any, list[Any]] = {}
        alone_since = time.monotonic()
        finished = as_completed([], raise_errors=False)
        try:
            while waiting or running:
                workers, _ = self._workers()
                alone_since = time.monotonic() if workers else alone_since
                while waiting and len(running) < 2 * workers:  # a batch each to work on, and one ahead
                    batch = waiting.pop()
                    future = client.submit(_call, function, batch, pure=False)
                    running[future] = batch
                    finished.add(future)
                for future in _next(finished, running):
                    batch = running.pop(future)
                    try:
                        yield from future.result()
                    except KilledWorker:
                        if len(batch) == 1:
                            yield Lost(batch[0])
                        waiting += [[item] for item in reversed(batch)] if len(batch) > 1 else []
                    except FutureCancelledError as error:
                        raise self._gone() from error
                    future.release()
                if time.monotonic() - alone_since > 60 * self.minutes:
                    raise Unfinished(
                        f"engine.address={self.address}: no worker has been there for {self.minutes:g} minutes; start "
                        "some (dask worker), then run the same command again: it goes on."
                    )
                yield None
        finally:
            with suppress(Exception):  # whatever has ended it comes first
                client.cancel(list(running))

    def _workers(self) -> tuple[int, int]:
        """Threads of all workers, and their machines. Unfinished if the scheduler does not answer any more."""
        client = self._client()
        if client.status not in ("running", "connecting"):
            raise self._gone()
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(worker["nthreads"] for worker in workers), len({worker["host"] for worker in workers})

    def _gone(self) -> Unfinished:
        return Unfinished(
            f"engine.address={self.address}: the scheduler is gone; start it again with workers, then run the same "
            "command again: it goes on."
        )

    def _client(self) -> Any:
        if not self._clients:
            self._clients.append(_connected(self.address))
        return self._clients[0]

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address, "batch": self.batch, "minutes": self.minutes, "_clients": []}


def _connected(address: str) -> Any:
    """A client of the scheduler. UserError without Dask, or where nothing answers."""
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(f"engine=dask needs Dask: {install_command('cluster')}.") from error
    place = {"address": address} if "://" in address else {"scheduler_file": address}
    try:
        return Client(**place, timeout=10, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise UserError(
            f"engine.address={address}: no Dask scheduler answers there ({type(error).__name__}); start one (dask "
            "scheduler), and give its address or the file of its --scheduler-file."
        ) from error


def _next(finished: Any, running: dict[Any, list[Any]]) -> Iterator[Any]:
    """Futures that have finished, after at most LOOK_SECONDS."""
    if not running:
        time.sleep(LOOK_SECONDS)
        return
    until = time.monotonic() + LOOK_SECONDS
    while not finished.has_ready() and time.monotonic() < until:
        time.sleep(0.02)
    while finished.has_ready():
        yield next(finished)


def _call(function: Function, batch: list[Any]) -> list[Any]:
    """Runs in a worker: all events of a batch."""
    with _children():
        return [event for event in function(batch) if event is not None]


@contextmanager
def _children() -> Iterator[None]:
    """Inside, this process may start others. Dask's nanny makes its workers daemons, which may not: daemons' children
    could outlive them, but those of a preparation leave with their parent."""
    config: dict[str, Any] = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    before = config.get("daemon")
    config["daemon"] = False
    try:
        yield
    finally:
        config["daemon"] = before
