"""The end of a command."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading


def leave(code: int) -> None:
    """End this process without the interpreter's teardown of modules, which takes seconds with PyTorch.

    It joins the non-daemon threads, runs the `atexit` functions and flushes logs and streams. If a Python version has
    other names for the first two steps, its own `sys.exit` ends the process.

    Args:
        code: exit code; 0 becomes 1 if a stream cannot be flushed.
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
        except (OSError, ValueError):  # a pipe without a reader, a full disk
            code = code or 1
    os._exit(code)
