"""The worker processes of one machine: results go to the staging folder, and none depends on worker or order.

A process works on one asset at a time, so that the parent knows the asset of a process that dies or exceeds the limits
of time or memory. The parent ends such a process and starts another one.
"""

import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any

from fieldforge.engines.engine import ONE_THREAD
from fieldforge.errors import UserError
from fieldforge.preparation.asset_process import Outcome, work
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.events import Decided, Failed, OverLimit
from fieldforge.preparation.faults import shell_memory_limit
from fieldforge.preparation.preparation_job import Job
from fieldforge.readers.limits import AssetLimits

PATIENCE = 10
"""An asset has so many times its seconds on the clock: others need the processor too, but nothing waits for ever."""
JOIN_SECONDS = 10.0
"""For a killed process to end: one that hangs in a network file system does not, and is left behind."""
SECONDS_BETWEEN_LOOKS = 0.1
"""At the memory and the time that assets take; in between a process may take a few hundred MB more."""


@dataclass
class _Worker:
    """A worker process and its current asset."""

    process: multiprocessing.process.BaseProcess
    connection: Connection
    ready: bool = False
    record: AssetRecord | None = None
    since: tuple[float, float] = (0.0, 0.0)  # seconds on the clock and of the processor

    def give(self, record: AssetRecord) -> None:
        self.record, self.since = record, (time.monotonic(), self._usage()[0])
        with suppress(ConnectionError):  # it has just died, which shows when it is attended to
            self.connection.send(record)

    def end(self) -> None:
        self.process.kill()
        self.process.join(JOIN_SECONDS)
        self.connection.close()

    def over(self, limits: AssetLimits) -> str | None:
        """The limit that its asset has reached, as the reason of its rejection."""
        cpu_seconds, memory = self._usage()
        if max(cpu_seconds - self.since[1], (time.monotonic() - self.since[0]) / PATIENCE) > limits.max_seconds:
            return (
                f"preparing it takes longer than {limits.max_seconds:g} s; simplify it, or raise "
                "preparation.limits.max_seconds."
            )
        return _too_much_memory(limits) if memory > limits.max_memory_bytes else None

    def _usage(self) -> tuple[float, int]:
        """Seconds of the processor since its start, and bytes that lie in memory now."""
        import psutil

        try:
            process = psutil.Process(self.process.pid)
            times = process.cpu_times()
            return times.user + times.system, process.memory_info().rss
        except psutil.Error:  # it has just ended
            return 0.0, 0


def _too_much_memory(limits: AssetLimits) -> str:
    return (
        f"preparing it takes more than {limits.max_memory_gb:g} GB of memory; simplify it, or raise "
        "preparation.limits.max_memory_gb."
    )


Event = Decided | OverLimit | Failed


def stage_batch(job: Job, processes: int, records: list[AssetRecord]) -> Iterator[Event | None]:
    """Stages records on so many processes; an event for each, as they finish, and None many times a second meanwhile.

    UserError: the machine fails (a full disk, a missing library), or cannot take part. Staged assets stay. Ends without
    a word where the command that it works for has ended.
    """
    job.check_machine()
    with _single_threaded():
        yield from _Crew(job).stage(records, processes)


@dataclass(frozen=True)
class _Crew:
    """The worker processes of one batch."""

    job: Job
    crew: list[_Worker] = field(default_factory=list)

    def stage(self, records: list[AssetRecord], count: int) -> Iterator[Event | None]:
        waiting = deque(records)
        try:
            while waiting or any(worker.record for worker in self.crew):
                while len(self.crew) < count and len(waiting) > sum(not worker.record for worker in self.crew):
                    self.crew.append(self._start())
                for worker in self.crew:
                    if worker.ready and not worker.record and waiting:
                        if not self.job.is_current():
                            return
                        worker.give(waiting.popleft())
                wait([worker.connection for worker in self.crew], SECONDS_BETWEEN_LOOKS)
                yield None
                for worker in list(self.crew):
                    if event := self._attend(worker):
                        yield event
        finally:
            for worker in self.crew:
                worker.end()
            self.crew.clear()

    def _start(self) -> _Worker:
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            # Not forked from here, where threads may be running, but from a server that has done nothing but the slow
            # imports.
            context.set_forkserver_preload(list(self.job.recipe.preload))
        here, there = context.Pipe()
        process = context.Process(
            target=work, args=(there, self.job.recipe, self.job.seed, self.job.staging), daemon=True
        )
        with nullcontext() if "__main__" in self._modules else _without_main():
            process.start()
        there.close()
        return _Worker(process, here)

    @property
    def _modules(self) -> set[str]:
        """The modules of what is sent to a process."""
        return {type(one).__module__ for one in (self.job.recipe, self.job.staging)}

    def _attend(self, worker: _Worker) -> Event | None:
        """Handles the state of one process."""
        if worker.connection.poll():
            try:
                outcome: Outcome | None = worker.connection.recv()
            except (EOFError, ConnectionError):
                return self._bury(worker)
            if outcome is None:
                worker.ready = True
                return None
            record, worker.record = worker.record, None
            assert record is not None
            return self._finish(worker, record, outcome)
        if worker.record and (reason := worker.over(self.job.recipe.limits)):
            self._dismiss(worker)
            return OverLimit(worker.record, reason)
        return None

    def _finish(self, worker: _Worker, record: AssetRecord, outcome: Outcome) -> Event:
        if outcome.fault is not None:
            raise outcome.fault
        if outcome.no_memory is None:
            return Decided(record, outcome.cpu_seconds, outcome.reason)
        granted, limits = shell_memory_limit(), self.job.recipe.limits
        if granted is not None and granted < limits.max_memory_bytes:
            raise UserError(
                f"preparing '{record.id}' needs more memory than the {granted / 2**30:.1f} GB that the shell grants "
                f"(ulimit): raise that, or lower preparation.limits.max_memory_gb={limits.max_memory_gb:g} below it to "
                "have such assets rejected."
            )
        self._dismiss(worker)  # what it holds is not known
        return Failed(record, _too_much_memory(limits))

    def _bury(self, worker: _Worker) -> Failed:
        self._dismiss(worker)
        if worker.record is None:
            raise UserError(
                f"a process that prepares assets could not start (exit code {worker.process.exitcode}): make sure that "
                "memory is left, or give fewer workers=, and run the same command again."
            )
        return Failed(worker.record, "the process died while preparing it, probably out of memory; simplify it.")

    def _dismiss(self, worker: _Worker) -> None:
        worker.end()
        self.crew.remove(worker)


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes started inside do not import the main module again, which is Dask's in a worker: a second for each."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


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
