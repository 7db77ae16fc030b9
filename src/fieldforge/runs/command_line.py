"""Rewrites the command line for Hydra: it quotes paths and texts, and expands abbreviations of keys."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from fieldforge.errors import UserError

TEXTS = ("prompt", "guidance.negative", "to", "class", "command")
PATHS = (
    *("run", "output", "output_dir", "name", "autoencoder_name", "autoencoder_run", "teacher"),
    *("continue_from", "init_from"),
    *("prompts", "image", "from", "points", "prior", "adapters", "guidance.run", "shards", "embed"),
    *("source.path", "source.labels", "source.folder", "source.cache", "source.name", "source.licence"),
    *("source.creator", "data.root", "latent_data.root", "data_root", "prompts.file", "images.libraries"),
    *("conditioner.clip", "device", "host"),
)
"""Keys whose value is a text, and keys whose value is a name: of a file, a folder, a run, a device."""
LISTS = ("class", "image", "adapters", "data.root", "latent_data.root", "embed", "data_root", "prompts")
"""The keys of both kinds whose value may be a list, [a,b]."""
SERIES = ("proportions", "symmetry")
"""The keys whose value is several numbers: 1,2,1 is [1,2,1]."""
SEARCH_PATH = "hydra.searchpath"
_ONE_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_SWEEP = re.compile(r"(choice|range|interval|glob|tag|sort|shuffle)\(.*\)", re.DOTALL)
_NO_WORD = re.compile(r"[-+.\d][-+.\deE_]*|true|false|nan|inf", re.IGNORECASE)
_INTERPOLATION = re.compile(r"\$\{[^${}]*\}")


def rewritten(
    arguments: Iterable[str], words: Mapping[str, tuple[str, str]], groups: Collection[str] = ()
) -> list[str]:
    """The arguments in Hydra's syntax; idempotent.

    Args:
        arguments: words of the command line, without the program.
        words: see `spelled_out`.
        groups: names of config groups, see `as_choice`.
    """
    ordered = multirun_first([as_series(spelled_out(argument, words)) for argument in arguments])
    sweeps = ordered[:1] == ["--multirun"]
    return [quoted(as_choice(argument, groups), sweeps) for argument in ordered]


def with_search_path(arguments: list[str], folder: Path) -> list[str]:
    """The arguments with `folder` first in a single `hydra.searchpath=`: of several Hydra reads only one."""
    places = literal(f"file://{folder}")
    others = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == SEARCH_PATH and value.startswith("[") and value.endswith("]"):
            places = ",".join(part for part in (places, value[1:-1].strip()) if part)
        else:
            others.append(argument)
    others.insert(_first_override(others), f"{SEARCH_PATH}=[{places}]")
    return others


def _first_override(arguments: list[str]) -> int:
    """Index of the first override. Hydra requires all overrides in one block, before or after flags (`--cfg job`)."""
    overrides = (place for place, word in enumerate(arguments) if "=" in word and not word.startswith("-"))
    return next(overrides, 0)


def check_dashes(arguments: Iterable[str]) -> None:
    """UserError for `--experiment` or an abbreviation of it, in the syntax of other programs."""
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--exp") and "experiment".startswith(name):
            raise UserError(f"{argument}: keys have no dashes here, write experiment={value or '<its name>'}")


def as_choice(argument: str, groups: Collection[str]) -> str:
    """`group=3` → `group="3"`: Hydra reports an unknown choice clearly, but not a number in the place of a choice."""
    key, _, value = argument.partition("=")
    return f'{key}="{value}"' if key in groups and _NO_WORD.fullmatch(value) else argument


def spelled_out(argument: str, words: Mapping[str, tuple[str, str]]) -> str:
    """`guidance=3` → `guidance.scale=3`. `words`: key → the full key for a value that is a word, and for a number."""
    key, equals, value = argument.partition("=")
    if not equals or key not in words:
        return argument
    word, number = words[key]
    return f"{word if value[:1].isalpha() else number}={value}"


def as_series(argument: str) -> str:
    """`proportions=1,2,1` → `proportions=[1,2,1]`, for the keys of `SERIES`."""
    key, _, value = argument.partition("=")
    return f"{key}=[{value}]" if key in SERIES and "," in value and not value.startswith("[") else argument


def multirun_first(arguments: list[str]) -> list[str]:
    """The arguments, with --multirun in front (Hydra can misread it elsewhere) if -m or `search=` requests a sweep."""
    flags = ("-m", "--multirun")
    others = [argument for argument in arguments if argument not in flags]
    searches = any(argument.startswith("search=") and argument != "search=none" for argument in others)
    of_a_sweep = any(argument.startswith("search.trial=") for argument in others)  # a process of a trial
    shows_help = any(argument in ("--help", "-h", "--cfg", "-c") for argument in others)
    sweeps = len(others) < len(arguments) or (searches and not of_a_sweep and not shows_help)
    return ["--multirun", *others] if sweeps else others


def quoted(argument: str, sweeps: bool = False) -> str:
    """`key=value` with a quoted, literal value, if the key is in `PATHS` or `TEXTS`.

    The value stays unchanged if it is null, already a quoted text, a list for a key of `LISTS`, or in a sweep a list of
    values (`a,b`, `choice(a,b)`). Hydra interpolates complete `${…}` in paths, and nothing in texts.
    """
    key, equals, value = argument.partition("=")
    name = key.lstrip("+")
    if not equals or name not in TEXTS + PATHS or _ONE_QUOTED.fullmatch(value):
        return argument
    if value == "null" and name not in ("prompt", "guidance.negative", "to"):
        return argument
    if name in LISTS and value.startswith("[") and value.endswith("]"):
        return argument
    if sweeps and ("," in value or _SWEEP.fullmatch(value)) and not (name in PATHS and _is_place(value)):
        return argument
    return f"{key}={literal(value, interpolated=name in PATHS)}"


def _is_place(value: str) -> bool:
    """Whether a text with commas is one path: the path exists, or a parent folder with a comma in its name does."""
    path = Path(value)
    return path.exists() or any("," in str(above) and above.exists() for above in path.parents)


def literal(value: str, interpolated: bool = False) -> str:
    """A quoted text of Hydra's command line, with `${` escaped; `interpolated`: unless all `${…}` are complete."""
    if not (interpolated and "${" not in _INTERPOLATION.sub("", value)):
        value = re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", value)
    escaped = re.sub(r"(\\*)(\"|$)", lambda match: match[1] * 2 + ("\\" if match[2] else "") + match[2], value)
    return f'"{escaped}"'
