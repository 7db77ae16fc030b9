"""What all machines of a preparation are told."""

from __future__ import annotations

import hashlib
import platform
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import fieldforge
from fieldforge.errors import UserError
from fieldforge.preparation.recipe import Recipe
from fieldforge.preparation.staging import VISIBLE_SECONDS, Staging

TOKENS = "commands"
LIBRARIES = ("numpy", "scipy", "torch", "trimesh", "pillow", "open3d-cpu", "open3d", "libigl", "DracoPy", "resvg-py")
"""Distributions whose versions may show in the bytes of samples."""


@dataclass(frozen=True)
class Job:
    """The settings of a preparation, and what a machine checks before it takes part.

    Args:
        code: of the command's machine, see `code_of_this_machine`.
        token: a file in the staging folder that exists as long as the command runs.
    """

    recipe: Recipe
    seed: int
    staging: Staging
    code: dict[str, str]
    token: str

    def is_current(self) -> bool:
        """Whether the command still runs: work for one that has ended would be in the way of the next one."""
        return self.staging.output.size(f"{TOKENS}/{self.token}") is not None

    def check_machine(self) -> None:
        """UserError if this machine does not see the staging folder, or would make other samples."""
        until = time.monotonic() + VISIBLE_SECONDS
        while not self.is_current():
            if time.monotonic() > until:
                raise UserError(
                    f"{socket.gethostname()} does not see {self.staging.output.url}: give an output= that all machines "
                    "share under one path, or in object storage."
                )
            time.sleep(1.0)
        own = code_of_this_machine()
        for name in sorted(self.code.keys() | own.keys()):
            if self.code.get(name) != own.get(name):
                raise UserError(
                    f"{socket.gethostname()} has {name} {own.get(name, 'not at all')}, and this machine has "
                    f"{self.code.get(name, 'it not at all')}: install the same on all, as samples may differ."
                )


@contextmanager
def job_of(recipe: Recipe, seed: int, staging: Staging) -> Iterator[Job]:
    """A job as long as the block runs; calls for the jobs of earlier commands end at their next asset."""
    output = staging.output.below(TOKENS)
    output.remove(output.names())
    token = secrets.token_hex(8)
    with output.file(token) as file:
        file.write(socket.gethostname().encode())
    try:
        yield Job(recipe, seed, staging, code_of_this_machine(), token)
    finally:
        output.remove([token])


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
