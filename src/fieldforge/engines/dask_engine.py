"""An engine on many machines: the workers of a Dask cluster. Needs the extra `cluster`.

Dask and not Ray, which does all of this too: it is pure Python of 10 MB where Ray has 250, its workers start by one
command that any batch system can run, and a killed worker's tasks move to others without a word in the log.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fieldforge.engines.code import check_code, code_of_this_machine
from fieldforge.engines.engine import ONE_THREAD, Function, Lost
from fieldforge.errors import Unfinished, UserError, install_command
from fieldforge.ranges import Count, Positive
from fieldforge.terminal import quantity

LOOK_SECONDS = 0.5
CENSUS_SECONDS = 2.0  # between questions which workers are there: a thousand of them make a long answer


class DaskEngine:
    """The workers of a Dask cluster, which may come and go.

    Args:
        address: of the scheduler (`tcp://10.0.0.1:8786`, `tls://…`), or a file that it wrote (`--scheduler-file`).
        batch: items of a call, at most.
        minutes: without any worker, after which the command gives up; the same command goes on.
    """

    def __init__(self, address: str, batch: Count = 8, minutes: Positive = 10.0):
        self.address, self.batch, self.minutes = address, batch, minutes
        self.client: Any = None
        self._census, self._census_time = (0, 0), -CENSUS_SECONDS

    @property
    def processes(self) -> int:
        return 1

    def batches(self, items: Sequence[Any]) -> list[list[Any]]:
        threads, _ = self._workers()
        size = max(1, min(self.batch, len(items) // (4 * max(1, threads))))  # some for each worker, of few items too
        return [list(items[start : start + size]) for start in range(0, len(items), size)]

    def about(self) -> str:
        threads, machines = self._workers()
        return f"{quantity(threads, 'worker')} on {quantity(machines, 'machine')}"

    def run(self, function: Function, batches: Sequence[list[Any]]) -> Iterator[Any]:
        self._connect()
        code, waiting = code_of_this_machine(), list(reversed(batches))
        running: dict[Any, list[Any]] = {}
        last_seen = time.monotonic()
        try:
            while waiting or running:
                threads, _ = self._workers()
                last_seen = time.monotonic() if threads else last_seen
                if time.monotonic() - last_seen > 60 * self.minutes:
                    raise Unfinished(
                        f"engine.address={self.address}: no worker has been there for {self.minutes:g} minutes; start "
                        "some (dask worker), then run the same command again: it goes on."
                    )
                while waiting and len(running) < 2 * threads:  # a batch to work on for each, and one ahead
                    batch = waiting.pop()
                    running[self.client.submit(_call, code, function, batch, pure=False)] = batch
                for future in _finished(running):
                    yield from self._events(future, running.pop(future), waiting)
                yield None
        finally:
            with suppress(Exception):  # what has ended it counts
                self.client.cancel(list(running))

    def _events(self, future: Any, batch: list[Any], waiting: list[list[Any]]) -> Iterator[Any]:
        """The events of a finished call; a batch that has killed several workers waits again, item by item."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            answer: _Answer = future.result()
        except KilledWorker:
            if len(batch) == 1:
                yield Lost(batch[0])
            else:
                waiting += [[item] for item in reversed(batch)]
            return
        except FutureCancelledError as error:
            raise self._gone() from error
        yield from answer.events
        if answer.error is not None:
            raise answer.error

    def _workers(self) -> tuple[int, int]:
        """Threads of all workers, and their machines. Unfinished if the scheduler does not answer any more."""
        self._connect()
        if time.monotonic() - self._census_time >= CENSUS_SECONDS:
            try:
                workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
            except (TimeoutError, OSError) as error:
                raise self._gone() from error
            if self.client.status not in ("running", "connecting"):
                raise self._gone()
            self._census = sum(worker["nthreads"] for worker in workers), len({worker["host"] for worker in workers})
            self._census_time = time.monotonic()
        return self._census

    def _gone(self) -> Unfinished:
        return Unfinished(
            f"engine.address={self.address}: the scheduler is gone; start it again with workers, then run the same "
            "command again: it goes on."
        )

    def _connect(self) -> None:
        """UserError without Dask, or where no scheduler answers."""
        if self.client is not None:
            return
        try:
            from distributed import Client
        except ImportError as error:
            raise UserError(f"engine=dask needs Dask: {install_command('cluster')}.") from error
        place = {"address": self.address} if "://" in self.address else {"scheduler_file": self.address}
        if "scheduler_file" in place and not os.path.isfile(self.address):  # Dask would wait for it for ever
            raise UserError(
                f"engine.address={self.address}: there is no such file; give that of dask scheduler --scheduler-file, "
                "or an address like tcp://10.0.0.1:8786."
            )
        try:
            self.client = Client(**place, timeout=10, set_as_default=False)
        except (TimeoutError, OSError, ValueError) as error:
            raise UserError(
                f"engine.address={self.address}: no Dask scheduler answers there ({type(error).__name__}); start one "
                "(dask scheduler), and give its address or the file of its --scheduler-file."
            ) from error


def _finished(running: dict[Any, list[Any]]) -> list[Any]:
    """Futures that have finished, as soon as there is one, or none after LOOK_SECONDS."""
    until = time.monotonic() + LOOK_SECONDS
    while not (finished := [future for future in running if future.done()]) and time.monotonic() < until:
        time.sleep(0.02)
    return finished


@dataclass(frozen=True)
class _Answer:
    """The events of a call until its end, or until its error."""

    events: list[Any]
    error: Exception | None


def _call(code: Mapping[str, str], function: Function, batch: list[Any]) -> _Answer:
    """Runs in a worker. Its errors are such as can be sent: those of libraries often cannot."""
    _prepare_process()
    events: list[Any] = []
    try:
        check_code(code)
        events += (event for event in function(batch) if event is not None)
    except UserError as error:
        kind = Unfinished if isinstance(error, Unfinished) else UserError
        return _Answer(events, kind(f"{str(error).rstrip('.')} (on {socket.gethostname()})."))
    except Exception:
        return _Answer(events, RuntimeError(f"on {socket.gethostname()}: {traceback.format_exc()}"))
    return _Answer(events, None)


def _prepare_process() -> None:
    """Lets this process start others, of one thread each.

    Dask's nanny makes its workers daemons, which may have no children, as these could outlive them; those of a
    preparation leave with their parent.
    """
    os.environ.update(ONE_THREAD)
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
