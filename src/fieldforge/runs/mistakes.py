"""Turns exceptions of Hydra and the system into sentences about the user's command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import takewhile

from hydra.errors import (
    ConfigCompositionException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
    SearchPathException,
)
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError

from fieldforge.errors import UserError, install_command, memory_shortage
from fieldforge.runs.command_line import PATHS, TEXTS
from fieldforge.runs.near_keys import near_keys
from fieldforge.storage.files import NO_ROOM


def explain(error: BaseException) -> str | None:
    """One sentence for a mistake in the configuration or the input, or for a lack of memory or disk; None for a bug."""
    for cause in chain(error):
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
        return f"cannot read the override {error.override!r}: {_how_to_write(str(error.override))}"
    if isinstance(error, SearchPathException) and (folder := re.search(r"'([^']*)' not found", text)):
        return f"--config-dir={folder[1]} is no folder: correct the path"
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


def _how_to_write(word: str) -> str:
    """Advice for a word that Hydra cannot parse; after the value of a text key, it is the rest of an unquoted text."""
    words = sys.argv[1:]
    place = words.index(word) if word in words else 0
    key, equals, start = words[place - 1].partition("=") if place else ("", "", "")
    if "=" in word or not equals or key.lstrip("+") not in TEXTS + PATHS:
        return "write key=value, with quotes around special characters"
    rest = takewhile(lambda one: "=" not in one and not one.startswith("-"), words[place:])
    text = " ".join([start.removeprefix('"').removesuffix('"'), *rest])
    return f'the shell takes a text apart at its spaces, so write it in quotes, {key}="{text}"'


def of_the_system(error: OSError) -> str | None:
    """One sentence for a system error of Hydra before the body runs; None for an error without a file name."""
    if error.filename is None:
        return None
    typed = [word for word in sys.argv[1:] if word.lstrip("+").startswith("hydra.")]
    keys = " ".join(word for word in typed if "searchpath" not in word) or "hydra.run.dir="
    return f"{error.filename} cannot be used ({error.strerror}): correct {keys}, or the folder of configs"


def _missing_choice(text: str) -> str:
    """One sentence for Hydra's message about a missing config or choice, with the available choices."""
    folder = re.search(r"Check that the config directory '([^']+)' exists", text)
    if folder:
        return f"--config-path={folder[1]} is no folder: leave it out, or add configs of your own by --config-dir"
    primary = re.search(r"Cannot find primary config '([^']+)'", text)
    if primary:
        return f"there is no config {primary[1]}: leave --config-name out, experiment= chooses"
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
        return (
            f"unknown config group {key}, or one that this experiment does not read: `--help` lists the groups and "
            "their choices"
        )
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
    """Advice for an unknown key: similar keys, else the command that lists all keys."""
    block, full = getattr(cause, "parent_node", None), str(getattr(cause, "full_key", ""))
    place, dot, key = full.rpartition(".")
    near = near_keys(block, key)
    if near:
        return f"did you mean {' or '.join(f'{place}{dot}{path}' for path in near)}? (`--cfg job` lists all keys)"
    return "`--help` and `--cfg job` list the keys there are"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its chain of causes, from the outermost to the first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _without_worker_traceback(text: str) -> str:
    """The sentence of an error whose text contains the traceback of a data worker process."""
    if "Original Traceback" not in text:
        return text
    return text.strip().splitlines()[-1].partition(": ")[2]


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type="))]
    return " ".join(lines).rstrip(".")
