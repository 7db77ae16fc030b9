"""The common part of all entry points: Hydra's main, error sentences and exit codes.

A user's mistake (`UserError`, an unknown key, a missing choice, a wrong type) gives one sentence on stderr and exit
code 2. Ctrl-C gives exit code 130. A run that another signal stops saves its state and gives exit code 85. Any other
error is a bug and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fieldforge.configuration.trust import trusted_by, trusting
from fieldforge.errors import EXIT_MISTAKE as EXIT_USER_ERROR
from fieldforge.errors import UserError, memory_shortage
from fieldforge.runs import help, large_pages, lean_imports
from fieldforge.runs.additions import check_additions
from fieldforge.runs.command_line import check_dashes, rewritten, with_search_path
from fieldforge.runs.hydra_places import check_hydra_places
from fieldforge.runs.leaving import leave
from fieldforge.runs.mistakes import chain, explain, of_the_system
from fieldforge.sweeps.job import is_trial, run_trial
from fieldforge.terminal import Formatter, format_warning, say
from fieldforge.training.processes import interruption, launchers

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


def run(
    body: Callable[[DictConfig], Any],
    config_name: str,
    *,
    keeps_state: bool = False,
    resumes: bool = False,
    words: Mapping[str, tuple[str, str]] = {},
    choices: bool = False,
    example: str | None = None,
    check: Callable[[DictConfig], None] | None = None,
    about: Callable[[DictConfig], str] | None = None,
) -> None:
    """Compose `configs/<config_name>.yaml` with the command line, call `body(config)` and end the process.

    Args:
        body: the work of the entry point; imports its heavy modules inside.
        config_name: primary config below `configs/`; its folder holds the config groups.
        keeps_state: the body saves and resumes: signals request a stop, and several processes are allowed.
        resumes: the body may stop anywhere and goes on later: TERM ends it with the exit code for that.
        words: key → the full key for a value that is a word, and for a number: guidance=interval, guidance=3.
        choices: add training's config groups to those beside a config in a subfolder.
        example: a choice that completes the configuration; `--help` uses it.
        check: raises UserError for mistakes in the configuration, without heavy modules.
        about: gives a line that announces the work while the heavy modules are imported.
    """
    _set_up_process()
    _set_up_signals(keeps_state, resumes)
    help.register(CONFIGS)
    sys.argv[1:] = rewritten(sys.argv[1:], words, [path.name for path in CONFIGS.iterdir() if path.is_dir()])
    if choices:
        sys.argv[1:] = with_search_path(sys.argv[1:], CONFIGS)
    if example and sys.argv[1:] in (["--help"], ["-h"]):
        sys.argv.append(example)
    checks = [lambda config: check_additions(config_name.rpartition("/")[2], CONFIGS), *([check] if check else [])]
    code = _exit_code(body, config_name, checks, about, alone=not keeps_state, goes_on=keeps_state or resumes)
    if code == interruption.EXIT_CTRL_C:
        interruption.deafen()  # another Ctrl-C would only change the exit code
    if body.__module__ == "__main__":
        leave(code)
    sys.exit(code)  # the caller is a program that continues


def _set_up_process() -> None:
    """Set environment variables and hooks before the first tensor and the first warning."""
    # Huge pages for PyTorch's large temporaries: page faults were a tenth of a training step on a CPU. PyTorch reads it
    # once, at the first allocation.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # OpenMP threads yield their core soon at a barrier. By default they spin for milliseconds: beside other processes,
    # where one thread waits for a core, a step then takes several times as long. The import of PyTorch reads it.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else a lost process prints pages of C++ frames
    sys.unraisablehook = interruption.unraisable
    warnings.formatwarning = format_warning


def _set_up_signals(keeps_state: bool, resumes: bool) -> None:
    interruption.release_ctrl_c()
    if keeps_state:
        interruption.install()
    if resumes:
        interruption.stop_on_term()


def _exit_code(
    body: Callable[[DictConfig], Any],
    config_name: str,
    checks: Sequence[Callable[[DictConfig], None]],
    about: Callable[[DictConfig], str] | None,
    alone: bool,
    goes_on: bool,
) -> int:
    failures: list[BaseException] = []
    task = _task(body, checks, about, failures)
    try:
        check_dashes(sys.argv[1:])
        check_hydra_places(sys.argv[1:])
        launchers.check_ranks()
        if alone:
            launchers.check_alone()
        _compose(task, config_name)
        if failures:
            raise failures[0]
    except interruption.Interrupted as stop:
        _say(f"{stop}: state is saved, the same command goes on from here")
        return stop.exit_code
    except KeyboardInterrupt:
        _say("stopped by Ctrl-C" + ("; the same command goes on from the last state saved" if goes_on else ""))
        return interruption.EXIT_CTRL_C
    except BrokenPipeError:
        if failures:  # a broken pipe of the body is a bug
            raise
        return _unread()
    except (UserError, HydraException, OmegaConfBaseException, OSError, RuntimeError, MemoryError) as error:
        sentence = None if isinstance(error, RuntimeError) and memory_shortage(error) is None else explain(error)
        if sentence is None and isinstance(error, OSError) and not failures:
            sentence = of_the_system(error)
        if sentence is None:
            raise
        _say(f"error: {sentence}", getattr(error, "everywhere", True))
        return next((cause.exit_code for cause in chain(error) if isinstance(cause, UserError)), EXIT_USER_ERROR)
    return 0


def _compose(task: Callable[[DictConfig], float | None], config_name: str) -> None:
    """Let Hydra compose the configuration and call the task with it."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises exceptions instead of printing them
    folder, _, name = config_name.rpartition("/")
    hydra.main(version_base="1.3", config_path=str(CONFIGS / folder), config_name=name)(task)()


def _task(
    body: Callable[[DictConfig], Any],
    checks: Sequence[Callable[[DictConfig], None]],
    about: Callable[[DictConfig], str] | None,
    failures: list[BaseException],
) -> Callable[[DictConfig], float | None]:
    """The function that Hydra calls: it runs the body, whose exception it appends to `failures`, or a trial."""

    def with_trust(config: DictConfig) -> Any:
        lean_imports.install()
        large_pages.install()
        with trusting(trusted_by(config)):
            return body(config)

    def check(config: DictConfig) -> None:
        for one in checks:
            one(config)

    def checked(config: DictConfig) -> Any:
        check(config)
        return with_trust(config)

    def task(config: DictConfig) -> float | None:
        if not logging.getLogger().handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(Formatter("%(message)s"))
            logging.basicConfig(level=logging.INFO, handlers=[handler])
        if is_trial(config):
            return run_trial(checked, config, explain)
        try:
            check(config)
            if about is not None:
                _say(about(config))
            with_trust(config)
        except BaseException as failure:  # `_exit_code` raises it, without Hydra's own lines above
            failures.append(KeyboardInterrupt() if interruption.leaves() else failure)
        return None

    return task


def _unread() -> int:
    """Exit code after the reader of a pipe has left (`--help | head -1`); further output is discarded."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _say(sentence: str, everywhere: bool = True) -> None:
    """Print to stderr; of several processes only the first prints what all of them met (`everywhere`)."""
    if interruption.speaks() or not everywhere:
        with contextlib.suppress(OSError):  # a closed terminal
            say(sentence)
