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

    Threads that are not daemons are waited for, what is registered for the exit runs, what is buffered is written. A
    Python that keeps the two steps elsewhere ends the process itself.
    """
    join_threads, run_registered = getattr(threading, "_shutdown", None), getattr(atexit, "_run_exitfuncs", None)
    if join_threads is None or run_registered is None:
        sys.exit(code)
    with contextlib.suppress(Exception):
        join_threads()
    run_registered()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # a pipe that nobody reads, a disk that is full
            code = code or 1
    os._exit(code)
