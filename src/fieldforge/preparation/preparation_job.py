"""What all machines of a preparation are told."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fieldforge.errors import UserError
from fieldforge.preparation.recipe import Recipe
from fieldforge.preparation.staging import VISIBLE_SECONDS, Staging

TOKENS = "commands"


@dataclass(frozen=True)
class Job:
    """The settings of a preparation, and what a machine checks before it takes part.

    Args:
        token: a file in the staging folder that exists as long as the command runs.
    """

    recipe: Recipe
    seed: int
    staging: Staging
    token: str

    def is_current(self) -> bool:
        """Whether the command still runs: work for one that has ended would be in the way of the next one."""
        return self.staging.output.size(f"{TOKENS}/{self.token}") is not None

    def check_current(self) -> None:
        """UserError if another command has begun the same work since; only object storage, without locks, lets it."""
        if not self.is_current():
            raise UserError(f"another command has begun to write {self.staging.output.url}: this one ends")

    def check_machine(self) -> None:
        """UserError if this machine does not see the staging folder."""
        until = time.monotonic() + VISIBLE_SECONDS
        while not self.is_current():
            if time.monotonic() > until:
                raise UserError(
                    f"{socket.gethostname()} does not see {self.staging.output.url}: give an output= that all machines "
                    "share under one path, or in object storage."
                )
            time.sleep(1.0)


@contextmanager
def job_of(recipe: Recipe, seed: int, staging: Staging) -> Iterator[Job]:
    """A job as long as the block runs; calls for the jobs of earlier commands end at their next asset."""
    output = staging.output.below(TOKENS)
    output.remove(output.names())
    token = secrets.token_hex(8)
    with output.file(token) as file:
        file.write(socket.gethostname().encode())
    try:
        yield Job(recipe, seed, staging, token)
    finally:
        output.remove([token])
