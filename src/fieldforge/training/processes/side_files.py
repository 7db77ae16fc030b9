"""Files beside the result of a command, whose failure costs them alone."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fieldforge.errors import UserError, memory_shortage
from fieldforge.storage.files import MACHINE
from fieldforge.training.processes import interruption

log = logging.getLogger(__name__)


@contextmanager
def side_file(path: Path) -> Iterator[None]:
    """Inside, what fails is a warning that names the file `path`, and the rest goes on.

    Raises:
        OSError, UserError, MemoryError, RuntimeError: of a machine whose disk or memory is not enough for the rest
            either, and of whatever a Ctrl-C has broken.
    """
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, UserError) and error.__cause__ else error
        of_machine = isinstance(cause, OSError) and cause.errno in MACHINE
        if of_machine or memory_shortage(cause) is not None or interruption.leaves():
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        log.warning("warning: %s is not written (%s); the rest goes on", path, reason)
