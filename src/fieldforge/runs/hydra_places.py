"""Checks the paths of Hydra's own files on a command line: they must lie below the working directory.

`output_dir=` or `output=` gives the folder of results. Hydra writes further files only at explicit `hydra.…=` paths.
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
_HARMLESS = re.compile(r"\$\{(now:[^{}]*|hydra\.job\.num)\}")  # other interpolations may give any text


def check_hydra_places(arguments: Iterable[str]) -> None:
    """Check every `hydra.…=` of a command line before Hydra writes there.

    Raises:
        UserError: a path outside of the working directory.
    """
    parser = OverridesParser.create()
    for argument in arguments:
        if not argument.lstrip("+").startswith(("hydra.", "hydra=")) or "hydra.searchpath" in argument:
            continue
        [override] = parser.parse_overrides([argument])
        if override.is_sweep_override() or override.is_delete():  # Hydra refuses a sweep here; a deletion names no path
            continue
        for key, value in _leaves(override.key_or_group, override.value()):
            if _PLACES.fullmatch(key) and isinstance(value, str) and _leaves_the_folder(value):
                raise UserError(
                    f"{key}={value} leaves the folder that the command is started in: leave it out, results go where "
                    "output_dir= or output= says"
                )


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of each leaf below `value`: `hydra.run={dir:x}` gives `hydra.run.dir`, x."""
    if not isinstance(value, Mapping):
        yield key, value
        return
    for name, below in value.items():
        yield from _leaves(f"{key}.{name}", below)


def _leaves_the_folder(value: str) -> bool:
    path = PurePosixPath(_HARMLESS.sub("x", value))
    return path.is_absolute() or ".." in path.parts or "$" in str(path)
