"""Classification of failures: an asset's failure rejects the asset, a machine's failure ends the preparation."""

from pathlib import Path

from fieldforge.errors import UserError, install_command
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.readers.file_store import AssetError
from fieldforge.storage.files import MACHINE

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


def machine_fault(error: BaseException, record: AssetRecord) -> UserError | None:
    """The message for a failure of the machine, also inside a reader's exception; None: the asset failed."""
    if record.reject is None and not Path(record.archive).exists():
        return UserError(f"{record.archive} is no longer there: bring it back and run the same command again.")
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
    return None


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
