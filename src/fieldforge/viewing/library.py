"""FiftyOne, imported where it is needed: it takes seconds, and is an extra."""

from __future__ import annotations

import os
from typing import Any

from fieldforge.errors import UserError, install_command


def fiftyone() -> Any:
    """The library, with its database running. UserError where it is not installed, or its database does not start."""
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")  # otherwise it reports to its makers how it is used
    try:
        import fiftyone as library
    except ImportError as error:
        raise UserError(f"this needs FiftyOne ({error}): {install_command('fiftyone')}") from error
    try:
        library.list_datasets()
    except Exception as error:  # its own, those of its driver, and those of starting a process
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"FiftyOne's database does not answer ({type(error).__name__}: {reason}): see that FIFTYONE_DATABASE_DIR "
            "can be written to, or that FIFTYONE_DATABASE_URI is right"
        ) from error
    return library
