"""Tolerance of errors that cost only a log or a picture: training continues."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType

log = logging.getLogger(__name__)


class Tolerance:
    """A context for writing `path`, in which an error is a warning, given once until the block succeeds again."""

    def __init__(self, path: Path):
        self.path = path
        self._warned = False

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            self._warned = False
        if not isinstance(error, OSError):
            return False
        if not self._warned:
            log.warning(
                "warning: %s cannot be written (%s): training goes on without it", self.path, error.strerror or error
            )
        self._warned = True
        return True
