"""Secondary files of a command: a failure to write one does not stop the command."""

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
    """Inside this context an error becomes a warning that names the file `path`.

    Raises:
        OSError, UserError, MemoryError, RuntimeError: where the disk is full or memory is exhausted, as the rest would
            fail too; or as a consequence of Ctrl-C.
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
