"""Where only a log or a picture is lost, training goes on."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType

log = logging.getLogger(__name__)


class Tolerance:
    """A block that may fail to write `path`; it warns, once until the block has worked again."""

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
