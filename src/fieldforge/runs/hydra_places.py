"""Places that a command line names for Hydra's own files: below the folder that the command is started in, or refused.

What a command makes lies where `output_dir=` or `output=` says. Hydra writes beside that only what is typed for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from fieldforge.errors import UserError

_PLACES = re.compile(
    r"hydra\.(run\.dir|sweep\.(sub)?dir|output_subdir|job\.name|launcher\.submitit_folder|(job|hydra)_logging\..*filename)"
)
_HARMLESS = re.compile(r"\$\{(now:[^{}]*|hydra\.job\.num)\}")  # all other interpolations may be any text


def check_hydra_places(arguments: Iterable[str]) -> None:
    """Every `hydra.…=` of a command line, before Hydra reads it and writes there.

    Raises:
        UserError: a path of Hydra's leaves the folder that the command is started in.
    """
    parser = OverridesParser.create()
    for argument in arguments:
        if not argument.lstrip("+").startswith(("hydra.", "hydra=")) or "hydra.searchpath" in argument:
            continue
        [override] = parser.parse_overrides([argument])
        if override.is_sweep_override() or override.is_delete():  # Hydra refuses the one; the other names no place
            continue
        for key, value in _leaves(override.key_or_group, override.value()):
            if _PLACES.fullmatch(key) and isinstance(value, str) and _leaves_the_folder(value):
                raise UserError(
                    f"{key}={value} leaves the folder that the command is started in: leave it out, results go where "
                    "output_dir= or output= says"
                )


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """All keys below, with their values: `hydra.run={dir:x}` is `hydra.run.dir=x`."""
    if not isinstance(value, Mapping):
        yield key, value
        return
    for name, below in value.items():
        yield from _leaves(f"{key}.{name}", below)


def _leaves_the_folder(value: str) -> bool:
    path = PurePosixPath(_HARMLESS.sub("x", value))
    return path.is_absolute() or ".." in path.parts or "$" in str(path)
