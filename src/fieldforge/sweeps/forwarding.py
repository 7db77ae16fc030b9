"""Signal forwarding: a process that waits for its jobs passes signals on to them, so that they save and exit."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from fieldforge.training.processes import interruption


@contextlib.contextmanager
def forwarding(to_children: bool) -> Iterator[None]:
    """Inside this context stop signals are recorded and, with `to_children`, sent to child processes as TERM.

    Ctrl-C reaches the processes of a terminal by itself; the first one is recorded, a second one stops at once.
    """
    interruption.install()
    if not to_children:
        yield
        return
    noting = {number: signal.getsignal(number) for number in (signal.SIGTERM, *user_signals())}

    def hand_on(number: int, frame: FrameType | None) -> None:
        handler = noting[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        for child in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)

    for number in noting:
        signal.signal(number, hand_on)
    interruption.hold_ctrl_c()
    try:
        yield
    finally:
        interruption.install()
        interruption.release_ctrl_c()


def children() -> list[int]:
    """Ids of the processes that this one has started (Linux; elsewhere none are known)."""
    mine, pids = os.getpid(), []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == mine:
                pids.append(int(path.parent.name))
    return pids


def user_signals() -> list[signal.Signals]:
    return [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
