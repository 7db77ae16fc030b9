"""Records of trials: one small file each, written by the job itself, so that it outlives its launcher."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fieldforge.errors import UserError

FINISHED, PRUNED, FAILED = "finished", "pruned", "failed"


@dataclass(frozen=True)
class Record:
    """The record of one trial.

    Args:
        state: FINISHED, PRUNED or FAILED.
        value: of the objective; None where there is none.
        step: last training step.
        seconds: of wall clock, over all its processes.
        run: directory of its last stage.
        note: why it failed, in one sentence.
    """

    state: str
    value: float | None = None
    step: int | None = None
    seconds: float = 0.0
    run: str | None = None
    note: str = ""

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False))
        os.replace(temporary, path)

    @staticmethod
    def read(path: Path) -> Record | None:
        """The record in a file; None where there is none yet. UserError for a damaged record."""
        if not path.is_file():
            return None
        try:
            return Record(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged: delete it, and its trial is run again") from error


def record_path(study: Path, number: int) -> Path:
    return study / "trials" / f"{number:04d}.json"


class Lock:
    """An exclusive lock on an open file, which the end of its process releases.

    The file's text is the total time of all holders in seconds.
    """

    def __init__(self, stream: Any):
        self._stream = stream
        stream.seek(0)
        self._before = float(stream.read() or 0.0)
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._since

    def note_seconds(self) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self._stream.write(f"{self.seconds:.1f}")
        self._stream.flush()


@contextlib.contextmanager
def held(path: Path) -> Iterator[Lock]:
    """Wait for the lock at `path` and hold it; it is the process's own, not that of processes it starts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX)
        lock = Lock(stream)
        try:
            yield lock
        finally:
            lock.note_seconds()
