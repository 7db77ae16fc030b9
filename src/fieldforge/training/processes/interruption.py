"""Requests to stop a run: signals and the time limit. A handler only sets a flag, which is read at the end of a step.

A save inside a handler could deadlock several processes (one in a collective, the other in its handler), or interrupt a
step. So a handler only records the request. Only a process that has waited long for data exits at once, as no step will
end. This module imports nothing heavy: entry points install the handlers before they load torch, so that they handle
every signal.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import stat
import sys
import threading
import time
from types import FrameType
from typing import Any

from fieldforge.errors import EXIT_UNFINISHED, Unfinished
from fieldforge.storage import waiting
from fieldforge.terminal import say

EXIT_CTRL_C = 130  # the shell's own number for Ctrl-C
TIME_IS_UP = "trainer.max_hours"
LONGEST_WAIT = 15.0  # seconds for data, where something asks to stop: schedulers kill after 30
PAUSE = 0.5

Reason = signal.Signals | str
_SIGNALS = ("SIGUSR1", "SIGUSR2", "SIGTERM", "SIGHUP")
_TIME_CODE = 1000  # larger than any signal's number
_RANKS = (  # of a process, and beside it how many there are: one without the other is left over from elsewhere
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),
)
_noted: Reason | None = None
_leaving = False  # a Ctrl-C that stops at once has come
_deadline: float | None = None
_started = time.monotonic()


class Interrupted(Exception):
    """Training stopped before its end and has saved its state; `exit_code` is what the process should leave with."""

    def __init__(self, by: Reason | None):
        assert by is not None, "nothing asked the run to stop"
        super().__init__(f"stopped by {_name(by)}")
        self.by = by
        self.exit_code = EXIT_CTRL_C if by is signal.SIGINT else EXIT_UNFINISHED


def install() -> None:
    """Record USR1, USR2, TERM and HUP (a closed terminal) from now on, instead of the default action.

    An ignored HUP (nohup) stays ignored. `hold_ctrl_c` handles Ctrl-C.
    """
    for name in _SIGNALS:
        if hasattr(signal, name) and not (name == "SIGHUP" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN):
            signal.signal(getattr(signal, name), _handle)


def uninstall() -> None:
    """Restore the default signal handlers (in a process that continues with other work)."""
    for name in _SIGNALS:
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is _handle:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def stop_on_term() -> None:
    """For work that can stop anywhere and goes on later: from now on TERM raises Interrupted in the main thread."""
    signal.signal(signal.SIGTERM, _stop)


def hold_ctrl_c() -> None:
    """During training steps: record the first Ctrl-C; a second one stops at once."""
    signal.signal(signal.SIGINT, _handle)


def release_ctrl_c() -> None:
    """Outside of steps Ctrl-C stops at once (there is nothing half done to save)."""
    signal.signal(signal.SIGINT, _leave)


def deafen() -> None:
    """Ignore Ctrl-C until the process has ended (Python restores its own handlers before that)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def limit_time(hours: float | None) -> None:
    """Request a stop at this age of the process in hours; None removes the limit."""
    global _deadline
    _deadline = None if hours is None else _started + 3600 * hours


def noted() -> Reason | None:
    """The first thing that asked this process to stop, if any."""
    if _noted is None and _deadline is not None and time.monotonic() > _deadline:
        note(_TIME_CODE)
    return _noted


def note(number: int) -> None:
    """Note a reason by its `code`, as another process has met it."""
    global _noted
    if _noted is None:
        _noted = TIME_IS_UP if number == _TIME_CODE else signal.Signals(number)


def code(reason: Reason | None) -> int:
    """A number that stands for the reason between processes; 0 for none."""
    if reason is None:
        return 0
    return _TIME_CODE if isinstance(reason, str) else int(reason)


def leaves() -> bool:
    """Whether a Ctrl-C has requested an immediate stop, which explains later errors."""
    return _leaving


def forget() -> None:
    """Start afresh (one process that trains several runs one after another, such as a sweep or a test)."""
    global _noted, _deadline, _leaving
    _noted = _deadline = None
    _leaving = False


def unraisable(problem: Any) -> None:
    """For `sys.unraisablehook`: a Ctrl-C in code that cannot raise exceptions stops the process too."""
    if problem.exc_type is KeyboardInterrupt:
        os._exit(EXIT_CTRL_C)
    sys.__unraisablehook__(problem)


def speaks() -> bool:
    """Whether this process is the first of a training: it reports for all processes."""
    ranks = (os.environ[rank] for rank, size in _RANKS if rank in os.environ and size in os.environ)
    return next(ranks, "0") == "0"


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what ends now is not to be disturbed
    raise Interrupted(signal.Signals(number))


def _handle(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and _noted is signal.SIGINT:
        _leave(number, frame)
    if _noted is not None and waiting.seconds() >= LONGEST_WAIT:
        _end(number, frame)
    if number == getattr(signal, "SIGHUP", None):
        _forget_terminal()
    if _noted is None:
        note(number)
        if hasattr(signal, "pthread_kill"):
            _thread.start_new_thread(_end_waits, (number,))  # `threading` has a lock that the main thread may hold
        if speaks():
            with contextlib.suppress(OSError, RuntimeError):  # nobody reads it, or this process is printing just now
                say("")  # after a line of progress, which has not ended
                say(f"{signal.Signals(number).name}: finishing this step, then saving")


def _end_waits(number: int) -> None:
    """In a separate thread: repeats the signal where the main thread has waited too long for data."""
    while _noted is not None:
        time.sleep(PAUSE)
        if waiting.seconds() >= LONGEST_WAIT and signal.getsignal(number) is _handle:
            signal.pthread_kill(threading.main_thread().ident or 0, number)


def _end(number: int, frame: FrameType | None) -> None:
    """Exit without waiting for the end of a step."""
    if number == signal.SIGINT:
        _leave(number, frame)
    raise Unfinished(
        f"stopped by {signal.Signals(number).name}, after {waiting.seconds():.0f} s without data: "
        "the same command goes on from the last checkpoint"
    )


def _leave(number: int, frame: FrameType | None) -> None:
    """Stop at once; another Ctrl-C kills a process that hangs, with its children."""
    global _leaving
    if _leaving:
        os._exit(EXIT_CTRL_C)
    _leaving = True
    raise KeyboardInterrupt


def _forget_terminal() -> None:
    """After the terminal has closed, discard output instead of failing."""
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)


def _name(reason: Reason) -> str:
    return reason if isinstance(reason, str) else reason.name
