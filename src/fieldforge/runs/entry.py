"""What all entry points share: Hydra's main, and errors that a user can read.

A user's mistake (`UserError`, an unknown key, a missing choice, a wrong type) is one sentence on stderr and exit code
2; Ctrl-C leaves with 130; a run that a signal stopped after saving leaves with 85 (130 for Ctrl-C). Anything else is a
bug and keeps its traceback.
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
from fieldforge.runs import help
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
    words: Mapping[str, tuple[str, str]] = {},
    choices: bool = False,
    example: str | None = None,
    check: Callable[[DictConfig], None] | None = None,
    about: Callable[[DictConfig], str] | None = None,
) -> None:
    """Compose `configs/<config_name>.yaml` with the command line and call `body(config)`; then leave the process.

    Args:
        body: what the entry point does; imports its heavy modules inside, so that mistakes show at once.
        config_name: primary config below `configs/`; its folder is where choices of groups are looked for.
        keeps_state: the body saves and resumes (training): USR1, USR2 and TERM are noted from the start, not died of;
            and it alone may be several processes.
        words: key → the keys that are meant where its value is a word, and a number: guidance=interval, guidance=3.
        choices: training's choices of a group are this one's too, although it lies in a folder of its own.
        example: a choice without which the configuration is not whole; `--help` is shown for this one.
        check: raises UserError for what can be known of the configuration without heavy modules.
        about: what is going to happen, in a line that shows while the heavy modules are imported.
    """
    _set_up_process()
    if keeps_state:
        interruption.install()
    help.register(CONFIGS)
    sys.argv[1:] = rewritten(sys.argv[1:], words, [path.name for path in CONFIGS.iterdir() if path.is_dir()])
    if choices:
        sys.argv[1:] = with_search_path(sys.argv[1:], CONFIGS)
    if example and sys.argv[1:] in (["--help"], ["-h"]):
        sys.argv.append(example)
    checks = [lambda config: check_additions(config_name.rpartition("/")[2], CONFIGS), *([check] if check else [])]
    code = _exit_code(body, config_name, checks, about, alone=not keeps_state)
    if code == interruption.EXIT_CTRL_C:
        interruption.deafen()  # all is said and saved: one more Ctrl-C would only spoil the exit code
    if body.__module__ == "__main__":
        leave(code)
    sys.exit(code)  # it is called by a program that goes on


def _set_up_process() -> None:
    """What must be there before the first tensor, and before the first warning."""
    # PyTorch's large temporaries in huge pages: page faults were a tenth of a training step on a CPU. Read once, at the
    # first allocation, so it is set before anything is built.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # Threads that wait for each other soon give their core away. By default they spin for milliseconds: beside other
    # work, where a partner is not running, a step then takes several times as long. Read as PyTorch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else a process that is gone is pages of C++ frames
    interruption.release_ctrl_c()
    sys.unraisablehook = interruption.unraisable
    warnings.formatwarning = format_warning


def _exit_code(
    body: Callable[[DictConfig], Any],
    config_name: str,
    checks: Sequence[Callable[[DictConfig], None]],
    about: Callable[[DictConfig], str] | None,
    alone: bool,
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
        _say("stopped by Ctrl-C; the same command goes on from the last state saved")
        return interruption.EXIT_CTRL_C
    except BrokenPipeError:
        if failures:  # the body's own pipe broke, which is a bug
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
    """Hydra composes the configuration, and calls the task with it."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its exceptions on instead of printing them
    folder, _, name = config_name.rpartition("/")
    hydra.main(version_base="1.3", config_path=str(CONFIGS / folder), config_name=name)(task)()


def _task(
    body: Callable[[DictConfig], Any],
    checks: Sequence[Callable[[DictConfig], None]],
    about: Callable[[DictConfig], str] | None,
    failures: list[BaseException],
) -> Callable[[DictConfig], float | None]:
    """What Hydra calls: the body, whose exception goes into `failures`, or a trial of a search."""

    def with_trust(config: DictConfig) -> Any:
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
        except BaseException as failure:  # raised again below, without the lines that Hydra would print above it
            failures.append(KeyboardInterrupt() if interruption.leaves() else failure)
        return None

    return task


def _unread() -> int:
    """The exit code where a reader (`--help | head -1`) left before Hydra had printed all; the rest goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _say(sentence: str, everywhere: bool = True) -> None:
    """On stderr, once: the first of several processes says what all have met."""
    if interruption.speaks() or not everywhere:
        with contextlib.suppress(OSError):  # a terminal that is gone
            say(sentence)
