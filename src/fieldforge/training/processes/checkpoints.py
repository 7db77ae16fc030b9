"""Checkpoints: written atomically, read without running code; a damaged one is replaced by the one before it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from fieldforge.errors import UserError
from fieldforge.storage.files import atomic_file, remove_leftovers, writing
from fieldforge.training.processes import ranks
from fieldforge.training.processes.published import SUFFIX, read_published
from fieldforge.training.processes.sharded_state import file_name, own_rows, read_folder, whole

FORMAT = "fieldforge-checkpoint-1"
_UNFINISHED = ".tmp"  # ends the name of a folder that processes are filling
log = logging.getLogger(__name__)


def save_atomically(content: dict[str, Any], path: str | Path) -> None:
    """Write to a temporary neighbour, flush to disk, rename: a reader sees the old file or the new one, never half.

    Raises:
        UserError: the disk is full or not writable; what was there before is untouched.
    """
    path = Path(path)
    with atomic_file(path) as file:
        stream = _Stream(file)
        try:
            torch.save(content, stream)  # type: ignore[arg-type]
        except (OSError, RuntimeError) as error:
            reason = stream.refusal.strerror if stream.refusal else error
            raise UserError(
                f"cannot write {path} ({reason}): earlier checkpoints are intact, make room and run the same command "
                "again"
            ) from error
    _synchronise(path.parent)


class _Stream:
    """A file that keeps the system's write error, which torch replaces by its own error."""

    def __init__(self, file: BinaryIO):
        self.file = file
        self.refusal: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return self.file.write(content)
        except OSError as error:
            self.refusal = error
            raise

    def flush(self) -> None:
        self.file.flush()


def save_spread(content: dict[str, Any], path: str | Path) -> None:
    """Save a checkpoint whose tensors are sharded over processes: a folder with a file for each process. A collective.

    Raises:
        UserError: in all processes, if one of them cannot write.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}{_UNFINISHED}")
    ranks.first_alone(lambda: shutil.rmtree(unfinished, ignore_errors=True))
    try:
        ranks.together(lambda: save_atomically(own_rows(content), unfinished / file_name(ranks.rank(), ranks.world())))
    except UserError:
        ranks.first_alone(lambda: shutil.rmtree(unfinished, ignore_errors=True))
        raise
    ranks.first_alone(lambda: _put_in_place(unfinished, path))


def _put_in_place(unfinished: Path, path: Path) -> None:
    with writing(path):
        remove_checkpoint(path)
        os.replace(unfinished, path)
    _synchronise(path.parent)


def remove_unfinished(directory: Path) -> None:
    """Remove partial checkpoints of killed processes; only for the training that writes to this folder."""
    remove_leftovers(directory)
    for folder in directory.glob(f".step_*{_UNFINISHED}"):
        shutil.rmtree(folder, ignore_errors=True)


def _synchronise(directory: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system lets a directory be synchronised
        handle = os.open(directory, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint of either kind, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_checkpoint(path: str | Path, mmap: bool = False) -> dict[str, Any]:
    """A checkpoint of either kind; in one of several processes, sharded tensors are `sharded_state.Pieces`.

    Tensors of a folder, and with `mmap` all tensors, are read at their first use and are not verified.

    Raises:
        UserError: missing, damaged, or not one of ours.
    """
    path = Path(path)
    if not path.is_dir():
        return load_safely(path, mmap=mmap)
    return read_folder(path, lambda file: load_safely(file, mmap=True))


def load_safely(path: str | Path, map_location: Any = "cpu", mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint of this project; plain containers and tensors only, so that a foreign file cannot run code.

    With `mmap` its tensors are read at their first use, and nothing is verified. A published model is read as the
    checkpoint that it comes from.

    Raises:
        UserError: missing, truncated, altered, or not one of ours.
    """
    path = Path(path)
    if path.suffix == SUFFIX:
        return read_published(path, map_location)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}: train the stage first, or correct the path")
    _archive(path).close() if mmap else verify(path)
    try:
        content = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises a dozen kinds for damaged files
        raise UserError(
            f"checkpoint {path} is damaged or not a plain one ({type(error).__name__}): delete it or use another"
        ) from error
    label = content.get("fieldforge") if isinstance(content, dict) else None
    if not isinstance(label, dict) or label.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this version of fieldforge: give one that train.py wrote")
    return content


def verify(path: Path) -> None:
    """Compare every byte of a checkpoint's file with its checksums (CRC-32), which torch.load ignores.

    Raises:
        UserError: it is altered, or no archive at all.
    """
    try:
        with _archive(path) as archive:
            altered = archive.testzip()
    except UserError:
        raise
    except Exception as error:  # zipfile raises half a dozen kinds for damaged files
        raise UserError(f"checkpoint {path} is damaged ({error}): delete it or use another") from error
    if altered is not None:
        raise UserError(f"checkpoint {path} is damaged (checksum of {altered}): delete it or use another")


def _archive(path: Path) -> zipfile.ZipFile:
    """A checkpoint's file, whose members are no larger than it is: a few bytes of a compressed one can be terabytes.

    Raises:
        UserError: it is no archive, or such a one.
    """
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:
        raise UserError(f"checkpoint {path} is damaged ({error}): delete it or use another") from error
    if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
        archive.close()
        raise UserError(f"checkpoint {path} is compressed, and train.py compresses none: use another copy of that file")
    return archive


def verified(path: Path) -> dict[str, Any]:
    """`read_checkpoint` with the files of all processes verified; tensors are not read.

    Raises:
        UserError: missing, damaged, or not one of ours.
    """
    for file in sorted(path.glob("*.ckpt")) if path.is_dir() else [path]:
        verify(file)
    return read_checkpoint(path, mmap=True)


@dataclass(frozen=True)
class LastCheckpoint:
    """A readable checkpoint and its number of training steps."""

    path: Path
    step: int


def find_last(directory: Path, fingerprint: str, at_most: int | None = None) -> LastCheckpoint | None:
    """The newest checkpoint in `directory` that can be read; None where there is none.

    With `at_most`, a checkpoint after this step is used only if there is no earlier one. A damaged checkpoint is
    skipped with a warning. A checkpoint of another run (fingerprint) is an error.

    Raises:
        UserError: all checkpoints are damaged, or one belongs to another run.
    """
    newest_first = sorted(directory.glob("step_*.ckpt"), reverse=True)
    newer = [path for path in newest_first if at_most is not None and int(path.stem.removeprefix("step_")) > at_most]
    candidates = newest_first[len(newer) :] + newer[::-1]
    for path in candidates:
        try:
            content = verified(path)
        except UserError as error:
            log.warning("warning: %s; trying the one before", error)
            continue
        theirs, step = content["fieldforge"].get("fingerprint"), content["fieldforge"].get("step")
        if not isinstance(step, int):
            log.warning("warning: checkpoint %s is damaged, it has no step; trying the one before", path)
            continue
        if theirs != fingerprint:
            raise UserError(f"checkpoint {path} belongs to run {theirs}, not to {fingerprint}: move it out of the way")
        return LastCheckpoint(path, step)
    if candidates:
        raise UserError(f"no checkpoint in {directory} can be read: delete the directory to start this stage afresh")
    return None


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's interface to checkpoint files, implemented by the functions above."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save_atomically(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        return whole(read_checkpoint(path))

    def remove_checkpoint(self, path: Any) -> None:
        remove_checkpoint(Path(path))
