"""Classification of failures: an asset's failure rejects the asset, a machine's failure ends the preparation."""

import os
import socket
from pathlib import Path

from fieldforge.errors import UserError, install_command
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.readers.file_store import AssetError
from fieldforge.readers.object_files import is_zip
from fieldforge.storage.cloud import is_remote
from fieldforge.storage.files import MACHINE
from fieldforge.storage.object_folder import ObjectFolder

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


def machine_fault(error: BaseException, record: AssetRecord) -> UserError | None:
    """The message for a failure of the machine, also inside a reader's exception; None: the asset failed."""
    if record.reject is None and not is_remote(record.archive) and not os.path.exists(record.archive):
        return _gone(record, "is no longer there")
    for cause in _chain(error):
        if isinstance(cause, UserError) and not isinstance(cause, AssetError):
            return cause
        if isinstance(cause, ImportError):
            return UserError(
                f"preparing '{record.id}' needs a library that cannot be imported ({cause}): "
                f"{install_command('prepare')} and run the same command again."
            )
        if isinstance(cause, OSError) and cause.errno in MACHINE:
            return UserError(
                f"'{record.file}' in {record.archive} cannot be prepared as the machine fails ({cause.strerror}): put "
                "that right, or take the file away, and run the same command again; what is finished stays."
            )
    return _gone(record, f"no longer holds '{record.file}'") if record.reject is None and _is_gone(record) else None


def _gone(record: AssetRecord, what: str) -> UserError:
    machine = socket.gethostname()
    return UserError(f"{record.archive} {what} (on {machine}): bring it back and run the same command again.")


def _is_gone(record: AssetRecord) -> bool:
    """Whether a folder lacks the asset's file, which it held when it was listed."""
    if is_remote(record.archive):
        return not is_zip(record.archive) and ObjectFolder(record.archive).size_or_none(record.file) is None
    archive = Path(record.archive)
    return archive.is_dir() and not os.path.lexists(archive / record.file)


def lacks_memory(error: BaseException) -> bool:
    """Whether a memory request was refused, also inside a reader's exception."""
    return any(isinstance(cause, MemoryError) for cause in _chain(error))


def shell_memory_limit() -> int | None:
    """Bytes that the shell, or a scheduler, grants this process; None: no such limit."""
    if resource is None:
        return None
    granted = [resource.getrlimit(getattr(resource, name))[0] for name in ("RLIMIT_AS", "RLIMIT_DATA")]
    finite = [size for size in granted if size != resource.RLIM_INFINITY]
    return min(finite) if finite else None


def _chain(error: BaseException | None):
    while error is not None:
        yield error
        error = error.__cause__
