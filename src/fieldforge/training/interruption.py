"""What asks a run to stop: signals, or its time is up. A handler only sets a flag, which is read at the end of a step.

Saving inside a handler can deadlock several processes (one in a collective, the other in its handler) and can cut a
step in half; so nothing happens here but a note. This module imports nothing heavy: entry points install the handlers
before torch is loaded, so that no signal meets an unprepared process.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

EXIT_UNFINISHED = 85  # a scheduler may start the same command again: it resumes
EXIT_CTRL_C = 130  # the shell's own number for Ctrl-C
TIME_IS_UP = "trainer.max_hours"

Reason = signal.Signals | str
_SIGNALS = ("SIGUSR1", "SIGUSR2", "SIGTERM")
_TIME_CODE = 1000  # larger than any signal's number
_noted: Reason | None = None
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
    """Note USR1, USR2 and TERM from now on instead of dying of them. Ctrl-C is left to `hold_ctrl_c`."""
    for name in _SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _handle)


def uninstall() -> None:
    """Give all signals back their usual meaning (in a process that goes on to do other things)."""
    for name in _SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    release_ctrl_c()


def hold_ctrl_c() -> None:
    """While steps run: the first Ctrl-C is noted, a second one stops at once."""
    signal.signal(signal.SIGINT, _handle)


def release_ctrl_c() -> None:
    """Outside of steps Ctrl-C stops at once (there is nothing half done to save)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def limit_time(hours: float | None) -> None:
    """Ask this process to stop when it is so many hours old; None lifts the limit."""
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


def forget() -> None:
    """Start afresh (one process that trains several runs one after another, such as a sweep or a test)."""
    global _noted, _deadline
    _noted = _deadline = None


def speaks() -> bool:
    """Whether this process is the first of those that train together: it says for all what all have met."""
    return next((os.environ[name] for name in ("RANK", "SLURM_PROCID") if name in os.environ), "0") == "0"


def _handle(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and _noted is signal.SIGINT:
        raise KeyboardInterrupt
    if _noted is None:
        note(number)
        if speaks():
            print(f"\n{signal.Signals(number).name}: finishing this step, then saving", file=sys.stderr, flush=True)


def _name(reason: Reason) -> str:
    return reason if isinstance(reason, str) else reason.name
