"""Which code a machine runs: results of two machines are only the same if it is the same."""

from __future__ import annotations

import hashlib
import platform
import socket
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import fieldforge
from fieldforge.errors import UserError

LIBRARIES = ("numpy", "scipy", "torch", "trimesh", "pillow", "open3d-cpu", "open3d", "libigl", "DracoPy", "resvg-py")
"""Distributions whose versions may show in results."""


@lru_cache(maxsize=1)
def code_of_this_machine() -> dict[str, str]:
    """Name → version of Python, the libraries and this package (a checksum of its source)."""
    folder, digest = Path(fieldforge.__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    code = {"Python": platform.python_version(), "Fieldforge's source": digest.hexdigest()[:12]}
    for name in LIBRARIES:
        try:
            code[name] = version(name)
        except PackageNotFoundError:
            continue
    return code


def check_code(expected: Mapping[str, str]) -> None:
    """UserError if this machine's code differs from that of another machine."""
    own = code_of_this_machine()
    for name in sorted(expected.keys() | own.keys()):
        if expected.get(name) != own.get(name):
            raise UserError(
                f"{socket.gethostname()} has {name} {own.get(name, 'not at all')}, and the machine of the command has "
                f"{expected.get(name, 'it not at all')}: install the same on all, as results may differ."
            )
