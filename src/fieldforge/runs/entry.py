"""What all entry points share: Hydra's main, and errors that a user can read.

A user's mistake (`UserError`, an unknown key, a missing choice, a wrong type) is one sentence on stderr and exit code
2; Ctrl-C leaves with 130; a run that a signal stopped after saving leaves with 85 (130 for Ctrl-C). Anything else is a
bug and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import (
    InterpolationKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from fieldforge.configuration.trust import trusted_by, trusting
from fieldforge.errors import EXIT_MISTAKE as EXIT_USER_ERROR
from fieldforge.errors import UserError, install_command, memory_shortage
from fieldforge.runs import help
from fieldforge.runs.command_line import literal, rewritten
from fieldforge.runs.leaving import leave
from fieldforge.runs.near_keys import near_keys
from fieldforge.storage.files import NO_ROOM
from fieldforge.sweeps.job import is_trial, run_trial
from fieldforge.terminal import Formatter, format_warning, printable
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
    about: Callable[[DictConfig], str] | None = None,
) -> None:
    """Compose `configs/<config_name>.yaml` with the command line and call `body(config)`; then leave the process.

    Args:
        body: what the entry point does; imports its heavy modules inside, so that mistakes show at once.
        config_name: primary config below `configs/`; its folder is where choices of groups are looked for.
        keeps_state: the body saves and resumes (training): USR1, USR2 and TERM are noted from the start, not died of;
            and it alone may be several processes.
        words: key → the keys that are meant where its value is a word, and a number: guidance=classifier, guidance=3.
        choices: training's choices of a group are this one's too, although it lies in a folder of its own.
        example: a choice without which the configuration is not whole; `--help` is shown for this one.
        about: what is going to happen, in a line that shows while the heavy modules are imported.
    """
    # PyTorch's large temporaries in huge pages: page faults were a tenth of a training step on a CPU. Read once, at the
    # first allocation, so it is set before anything is built.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else a process that is gone is pages of C++ frames
    interruption.release_ctrl_c()
    sys.unraisablehook = interruption.unraisable
    warnings.formatwarning = format_warning
    if keeps_state:
        interruption.install()
    help.register(CONFIGS)
    sys.argv[1:] = rewritten(sys.argv[1:], words, [path.name for path in CONFIGS.iterdir() if path.is_dir()])
    if choices:
        sys.argv.insert(_first_override(sys.argv), f"hydra.searchpath=[{literal(f'file://{CONFIGS}')}]")
    if example and sys.argv[1:] in (["--help"], ["-h"]):
        sys.argv.append(example)
    code = _exit_code(body, config_name, about, alone=not keeps_state)
    if code == interruption.EXIT_CTRL_C:
        interruption.deafen()  # all is said and saved: one more Ctrl-C would only spoil the exit code
    if body.__module__ == "__main__":
        leave(code)
    sys.exit(code)  # it is called by a program that goes on


def _first_override(arguments: list[str]) -> int:
    """Where the overrides begin: Hydra takes them as one run of words, before flags (`--cfg job`) or after them."""
    overrides = [place for place, word in enumerate(arguments) if place and "=" in word and not word.startswith("-")]
    return overrides[0] if overrides else len(arguments)


def _exit_code(
    body: Callable[[DictConfig], Any], config_name: str, about: Callable[[DictConfig], str] | None, alone: bool
) -> int:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its exceptions on instead of printing them
    folder, _, name = config_name.rpartition("/")
    failures: list[BaseException] = []

    def with_trust(config: DictConfig) -> Any:
        with trusting(trusted_by(config)):
            return body(config)

    def kept_from_hydra(config: DictConfig) -> float | None:
        if not logging.getLogger().handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(Formatter("%(message)s"))
            logging.basicConfig(level=logging.INFO, handlers=[handler])
        if is_trial(config):
            return run_trial(with_trust, config, explain)
        try:
            if about is not None:
                _say(about(config))
            with_trust(config)
        except BaseException as failure:  # raised again below, without the lines that Hydra would print above it
            failures.append(KeyboardInterrupt() if interruption.leaves() else failure)
        return None

    main = hydra.main(version_base="1.3", config_path=str(CONFIGS / folder), config_name=name)(kept_from_hydra)
    try:
        launchers.check_ranks()
        if alone:
            launchers.check_alone()
        main()
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
        bug = isinstance(error, RuntimeError) and memory_shortage(error) is None
        sentence = None if bug else explain(error)
        if sentence is None:
            raise
        _say(f"error: {sentence}", getattr(error, "everywhere", True))
        return next((cause.exit_code for cause in _chain(error) if isinstance(cause, UserError)), EXIT_USER_ERROR)
    return 0


def _unread() -> int:
    """The exit code where a reader (`--help | head -1`) left before Hydra had printed all; the rest goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _say(sentence: str, everywhere: bool = True) -> None:
    """On stderr, once: the first of several processes says what all have met."""
    if interruption.speaks() or not everywhere:
        with contextlib.suppress(OSError):  # a terminal that is gone
            print(printable(sentence), file=sys.stderr, flush=True)


def explain(error: BaseException) -> str | None:
    """One sentence for a mistake in the configuration or the input; None for what is a bug in the program."""
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return _one_line(_without_worker_traceback(str(cause)))
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            place = cause.filename or "what it was about to write"
            return f"there is no room for {place} ({cause.strerror}): make room and run the same command again"
        short = memory_shortage(cause)
        if short is not None:
            return f"memory is not enough ({short}): lower n=, prompts, batch sizes or resolutions, or give device=cpu"
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"cannot read the override {error.override!r}: write key=value, with quotes around special characters"
    if isinstance(error, MissingConfigException):
        return _missing_choice(text)
    if isinstance(error, ConfigCompositionException):
        return _unknown_key(text, error)
    if isinstance(error, MissingMandatoryValue):
        key = getattr(error, "full_key", None) or text.split(":")[-1].strip()
        return f"the config key {key} has no value: give it on the command line, {key}=…"
    if isinstance(error, InterpolationKeyError):
        return f"a config value refers to a key that does not exist: {_one_line(text)}"
    if isinstance(error, ValidationError):
        return f"config key {getattr(error, 'full_key', '')}: {_one_line(text)}"
    if isinstance(error, InstantiationException):
        return None
    if isinstance(error, OmegaConfBaseException) and getattr(error, "full_key", None):
        return f"config key {error.full_key}: {_one_line(text)}"
    return None


def _missing_choice(text: str) -> str:
    """`Could not find 'group/choice'` with the list of what there is."""
    wanted = re.search(r"(?:Could not find|Could not load|Unable to find)[^']*'([^']+)'", text)
    options = [line.strip() for line in text.split("Available options in")[-1].splitlines()[1:] if line.strip()]
    listed = ", ".join(option for option in options if not option.startswith(("Config search", "provider=")))
    name = wanted.group(1) if wanted else _one_line(text)
    group, _, choice = name.rpartition("/")
    if group == "hydra/launcher":
        return f"launcher={choice} is not installed: {install_command('sweep')}, or choose one of {listed}"
    if group and listed and "Available options in" in text:
        return f"there is no {group}={choice}: choose one of {listed}"
    return f"there is no config {name}: look into configs/ for what there is"


def _unknown_key(text: str, error: BaseException) -> str:
    cause = getattr(error, "__cause__", None)
    override = re.search(r"Could not override '([^']+)'", text)
    group = re.search(r"Could not override '([^']+)'\.\s*No match in the defaults list", text)
    if group:
        key = group.group(1)
        return f"unknown config group {key}: `--help` lists the groups and their choices"
    unchosen = re.search(r"You must specify '([^']+)'.*?Available options:\s*(.*)", text, re.DOTALL)
    if unchosen:
        name, options = unchosen.groups()
        return f"no {name} is chosen: give {name}= one of {', '.join(options.split())}"
    if override:
        if isinstance(cause, ValidationError):
            return f"config key {override.group(1)}: {_one_line(str(cause))}"
        return f"unknown config key {override.group(1)}: {_way_out(cause)}"
    merging = re.search(r"Error merging override (\S+)", text)
    if merging:
        return f"cannot apply {merging.group(1)}: {_one_line(str(cause) if cause else text)}"
    return _one_line(text)


def _way_out(cause: BaseException | None) -> str:
    """The keys that may have been meant, or where to look for all of them."""
    block, full = getattr(cause, "parent_node", None), str(getattr(cause, "full_key", ""))
    place, dot, key = full.rpartition(".")
    near = near_keys(block, key)
    if near:
        return f"did you mean {' or '.join(f'{place}{dot}{path}' for path in near)}? (`--cfg job` lists all keys)"
    return "`--help` and `--cfg job` list the keys there are"


def _chain(error: BaseException | None):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _without_worker_traceback(text: str) -> str:
    """The sentence alone, of an error that a data worker process wrapped into its whole traceback."""
    if "Original Traceback" not in text:
        return text
    return text.strip().splitlines()[-1].partition(": ")[2]


def _one_line(text: str) -> str:
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [line for line in kept if not line.startswith(("full_key:", "object_type=", "reference_type="))]
    return " ".join(kept).rstrip(".")
