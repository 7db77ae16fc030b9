"""The interface of engines, and the engine of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fieldforge.errors import Unfinished

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "IGL_NUM_THREADS")}
"""The environment of processes that share the cores."""
Function = Callable[[list[Any]], Iterator[Any]]
"""Batch of items → events. It can be pickled, and so can its items and events. It may be called again for the same
items, also while an earlier call still runs: it writes files whole, and skips what it finds done."""


@dataclass(frozen=True)
class Lost:
    """The event of an item whose workers died again and again."""

    item: Any

    @staticmethod
    def unfinished(work: str, otherwise: str = "") -> Unfinished:
        """The end of a command whose workers die whenever they do this work."""
        return Unfinished(
            f"workers die whenever they {work}: give them more memory{otherwise}, and run the same command again: it "
            "goes on."
        )


class Engine(Protocol):
    """Computes functions of batches.

    Args:
        processes: that a call of a function may start on its machine.
    """

    @property
    def processes(self) -> int: ...

    def batches(self, items: Sequence[Any]) -> list[list[Any]]:
        """Items in their order, in batches of the size that suits the engine."""
        ...

    def run(self, function: Function, batches: Sequence[list[Any]]) -> Iterator[Any]:
        """The events of all calls, in any order; None several times a second while nothing happens.

        Raises what a function raises; Unfinished where machines are missing: the same work goes on later.
        """
        ...

    def about(self) -> str:
        """What computes now, for a line of progress; empty for this machine alone."""
        ...


@dataclass(frozen=True)
class LocalEngine:
    """This process, and processes beside it.

    Args:
        workers: processes; None: one per core.
    """

    workers: int | None = None

    @property
    def processes(self) -> int:
        if self.workers is not None:
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def batches(self, items: Sequence[Any]) -> list[list[Any]]:
        return [list(items)] if items else []

    def run(self, function: Function, batches: Sequence[list[Any]]) -> Iterator[Any]:
        for batch in batches:
            yield from function(batch)

    def about(self) -> str:
        return ""
