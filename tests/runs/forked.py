"""Processes that begin with their imports done, which are most of the time of a short training.

They are forked from the server of multiprocessing, which tests/conftest.py gives its modules: it has no threads, and
nothing of the test that starts a process.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Forked:
    """A process with what the tests use of `subprocess.Popen`: it calls a function, and stderr is text."""

    def __init__(self, function: Callable[..., Any], arguments: tuple, folder: Path, environment: Mapping[str, str]):
        self._errors = folder / f"stderr_{os.urandom(4).hex()}"
        own = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment}
        context: Any = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=_run, args=(function, arguments, folder, own, self._errors))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def communicate(self, timeout: float) -> tuple[None, str]:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self._errors), timeout)
        return None, self._errors.read_text()

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self._process.pid, signal.SIGKILL)


def type_command(command: str, arguments: list[str], folder: Path) -> Forked:
    """Start a command of the repository in a folder."""
    return Forked(_command, (command, arguments), folder, {})


def _command(command: str, arguments: list[str]) -> None:
    sys.argv = [str(ROOT / command), *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")


def _run(
    function: Callable[..., Any], arguments: tuple, folder: Path, environment: Mapping[str, str], errors: Path
) -> None:
    import torch

    torch.set_num_threads(1)
    atexit.unregister(os._exit)  # by which the server leaves
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    sys.path.insert(0, str(ROOT))
    function(*arguments)
