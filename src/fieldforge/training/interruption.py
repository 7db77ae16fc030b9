"""Signals that ask a run to stop: a handler only sets a flag, the training loop reads it at the end of a step.

Saving inside a handler can deadlock several processes (one in a collective, the other in its handler) and can cut a
step in half; so nothing happens here but a note. This module imports nothing heavy: entry points install the handlers
before torch is loaded, so that no signal meets an unprepared process.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

EXIT_UNFINISHED = 85  # a scheduler may start the same command again: it resumes
EXIT_CTRL_C = 130  # the shell's own number for Ctrl-C

_SIGNALS = ("SIGUSR1", "SIGUSR2", "SIGTERM")
_noted: signal.Signals | None = None


class Interrupted(Exception):
    """Training stopped at a signal after it had saved its state; `exit_code` is what the process should leave with."""

    def __init__(self, by: signal.Signals):
        super().__init__(f"stopped by {by.name}")
        self.by = by
        self.exit_code = EXIT_CTRL_C if by is signal.SIGINT else EXIT_UNFINISHED


def install() -> None:
    """Note USR1, USR2 and TERM from now on instead of dying of them. Ctrl-C is left to `hold_ctrl_c`."""
    for name in _SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _note)


def uninstall() -> None:
    """Give all signals back their usual meaning (in a process that goes on to do other things)."""
    for name in _SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    release_ctrl_c()


def hold_ctrl_c() -> None:
    """While steps run: the first Ctrl-C is noted, a second one stops at once."""
    signal.signal(signal.SIGINT, _note)


def release_ctrl_c() -> None:
    """Outside of steps Ctrl-C stops at once (there is nothing half done to save)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def noted() -> signal.Signals | None:
    """The first signal that asked this process to stop, if any."""
    return _noted


def forget() -> None:
    """Start afresh (one process that trains several runs one after another, such as a sweep or a test)."""
    global _noted
    _noted = None


def _note(number: int, frame: FrameType | None) -> None:
    global _noted
    if number == signal.SIGINT and _noted is signal.SIGINT:
        raise KeyboardInterrupt
    if _noted is None:
        _noted = signal.Signals(number)
        print(f"\n{_noted.name}: finishing this step, then saving", file=sys.stderr, flush=True)
