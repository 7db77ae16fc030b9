"""The end of a command."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading


def leave(code: int) -> None:
    """End this process as the interpreter would, but without taking its modules apart, which is seconds of PyTorch.

    Threads that are not daemons are waited for, what is registered for the exit runs, what is buffered is written.
    """
    with contextlib.suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # a pipe that nobody reads, a disk that is full
            code = code or 1
    os._exit(code)
