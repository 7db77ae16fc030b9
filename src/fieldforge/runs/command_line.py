"""The command line as people type it → as Hydra reads it: paths and texts are what they say, words stand for keys."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from fieldforge.errors import UserError

TEXTS = ("prompt", "guidance.negative", "to", "class", "command")
PATHS = (
    *("run", "output", "output_dir", "name", "autoencoder_name", "autoencoder_run", "teacher"),
    *("continue_from", "init_from"),
    *("prompts", "image", "from", "prior", "guidance.run", "shards", "embed"),
    *("source.path", "source.labels", "source.folder", "source.cache", "source.name", "source.licence"),
    *("source.creator", "data.root", "latent_data.root", "data_root", "prompts.file", "images.libraries"),
    *("conditioner.clip", "device"),
)
"""Keys whose value is a text, and keys whose value names something: a file, a folder, a run."""
LISTS = ("class", "image", "data.root", "latent_data.root", "embed", "data_root")
"""Of these, those that may be lists: [a,b]."""
SEARCH_PATH = "hydra.searchpath"
_ONE_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_SWEEP = re.compile(r"(choice|range|interval|glob|tag|sort|shuffle)\(.*\)", re.DOTALL)
_NO_WORD = re.compile(r"[-+.\d][-+.\deE_]*|true|false|nan|inf", re.IGNORECASE)
_INTERPOLATION = re.compile(r"\$\{[^${}]*\}")


def rewritten(
    arguments: Iterable[str], words: Mapping[str, tuple[str, str]], groups: Collection[str] = ()
) -> list[str]:
    """All arguments as Hydra is to read them; the same again for what is rewritten already."""
    ordered = multirun_first([spelled_out(argument, words) for argument in arguments])
    sweeps = ordered[:1] == ["--multirun"]
    return [quoted(as_choice(argument, groups), sweeps) for argument in ordered]


def with_search_path(arguments: list[str], folder: Path) -> list[str]:
    """With a folder of choices before those that are typed: of several `hydra.searchpath=` Hydra takes one alone."""
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
    """Where the overrides begin: Hydra takes them as one run of words, before flags (`--cfg job`) or after them."""
    overrides = (place for place, word in enumerate(arguments) if "=" in word and not word.startswith("-"))
    return next(overrides, 0)


def check_dashes(arguments: Iterable[str]) -> None:
    """UserError for a key that is written with dashes, as options of other programs are."""
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--exp") and "experiment".startswith(name):
            raise UserError(f"{argument}: keys have no dashes here, write experiment={value or '<its name>'}")


def as_choice(argument: str, groups: Collection[str]) -> str:
    """`group=3` as `group="3"`: Hydra knows what to say of a choice that is not there, but not of a number."""
    key, _, value = argument.partition("=")
    return f'{key}="{value}"' if key in groups and _NO_WORD.fullmatch(value) else argument


def spelled_out(argument: str, words: Mapping[str, tuple[str, str]]) -> str:
    """`plan=json` as `plan.show=json` and `guidance=3` as `guidance.scale=3`, if `words` says so."""
    key, equals, value = argument.partition("=")
    if not equals or key not in words:
        return argument
    word, number = words[key]
    return f"{word if value[:1].isalpha() else number}={value}"


def multirun_first(arguments: list[str]) -> list[str]:
    """With -m in front, where Hydra reads it rightly, and also where search= asks for it without saying so."""
    flags = ("-m", "--multirun")
    others = [argument for argument in arguments if argument not in flags]
    searches = any(argument.startswith("search=") and argument != "search=none" for argument in others)
    of_a_sweep = any(argument.startswith("search.trial=") for argument in others)  # a process of one of its trials
    shows_help = any(argument in ("--help", "-h", "--cfg", "-c") for argument in others)
    sweeps = len(others) < len(arguments) or (searches and not of_a_sweep and not shows_help)
    return ["--multirun", *others] if sweeps else others


def quoted(argument: str, sweeps: bool = False) -> str:
    """`key=value` with the value in quotes, if the key is that of a path or a text, so that it is what it says.

    Left to Hydra are: null, a value that is one quoted text already, a list where there may be one, and in a sweep what
    lists its values (`a,b`, `choice(a,b)`). Whole `${…}` are interpolated in paths, and nothing is in texts.
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
    """Whether a text that could list values is one path: it is there, or a folder above it whose name has a comma."""
    path = Path(value)
    return path.exists() or any("," in str(above) and above.exists() for above in path.parents)


def literal(value: str, interpolated: bool = False) -> str:
    """A text in the quotes of Hydra's command line; `interpolated`: but for whole `${…}` in it."""
    if not (interpolated and "${" not in _INTERPOLATION.sub("", value)):
        value = re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", value)
    escaped = re.sub(r"(\\*)(\"|$)", lambda match: match[1] * 2 + ("\\" if match[2] else "") + match[2], value)
    return f'"{escaped}"'
