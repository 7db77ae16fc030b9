"""Checkpoints: written whole or not at all, read without running code, the one before used when the last is damaged."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from fieldforge.errors import UserError
from fieldforge.training import interruption

FORMAT = "fieldforge-checkpoint-1"
log = logging.getLogger(__name__)


def save_atomically(content: dict[str, Any], path: str | Path) -> None:
    """Write to a temporary neighbour, flush to disk, rename: a reader sees the old file or the new one, never half.

    Raises:
        UserError: the disk is full or not writable; what was there before is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"cannot write {path} ({error}): earlier checkpoints are intact, make room and run the same command again"
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not every file system lets a directory be synchronised
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)


def load_safely(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint of this project; plain containers and tensors only, so a stranger's file cannot run code.

    Raises:
        UserError: missing, truncated, or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}: train the stage first, or correct the path")
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for damaged files
        raise UserError(
            f"checkpoint {path} is damaged or not a plain one ({type(error).__name__}): delete it or use another"
        ) from error
    if not isinstance(content, dict) or content.get("fieldforge", {}).get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this version of fieldforge: give one that train.py wrote")
    return content


@dataclass(frozen=True)
class Found:
    """A readable checkpoint and the number of steps that are trained in it."""

    path: Path
    step: int


def find_last(directory: Path, fingerprint: str) -> Found | None:
    """The newest checkpoint in `directory` that can be read; None where there is none.

    A damaged one is passed over with a warning. One of another run (fingerprint) is an error: it must not be mixed in.

    Raises:
        UserError: all checkpoints are damaged, or one belongs to another run.
    """
    candidates = sorted(directory.glob("step_*.ckpt"), reverse=True)
    for path in candidates:
        try:
            content = load_safely(path)
        except UserError as error:
            log.warning("warning: %s; trying the one before", error)
            continue
        theirs = content["fieldforge"].get("fingerprint")
        if theirs != fingerprint:
            raise UserError(f"checkpoint {path} belongs to run {theirs}, not to {fingerprint}: move it out of the way")
        return Found(path, int(content["fieldforge"]["step"]))
    if candidates:
        raise UserError(f"no checkpoint in {directory} can be read: delete the directory to start this stage afresh")
    return None


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's door to the file system, with the two functions above behind it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save_atomically(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        return load_safely(path, map_location)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class Checkpointer(pl.Callback):
    """Saves on a schedule, at a signal, and at the end; keeps the last two.

    Args:
        directory: where `step_<n>.ckpt` go.
        label: plain values stored in each checkpoint under "fieldforge" (stage, config, fingerprint).
        every_minutes: wall clock between checkpoints.
        every_steps: steps between checkpoints, in addition; None for none.
        keep: how many to leave on disk.
    """

    def __init__(
        self,
        directory: Path,
        label: dict[str, Any],
        every_minutes: float = 5.0,
        every_steps: int | None = None,
        keep: int = 2,
    ):
        self.directory, self.label, self.keep = directory, label, keep
        self.every_seconds, self.every_steps = 60 * every_minutes, every_steps
        self._saved_at = time.monotonic()
        self._saved_step = -1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        interruption.install()  # the trainer has just put handlers of its own in their place

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        interruption.install()
        interruption.hold_ctrl_c()
        self._saved_at = time.monotonic()
        self._saved_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        stop = agreed(trainer, interruption.noted() is not None)
        due = agreed(trainer, time.monotonic() - self._saved_at > self.every_seconds)
        on_step = self.every_steps is not None and trainer.global_step % self.every_steps == 0
        if stop:
            trainer.should_stop = True
            trainer.limit_val_batches = 0  # no last look at held-out shapes: whoever sends a signal waits
        if stop or due or on_step:
            self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        interruption.release_ctrl_c()
        self.save(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        interruption.release_ctrl_c()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["fieldforge"] = {"format": FORMAT, "step": trainer.global_step, **self.label}

    def save(self, trainer: pl.Trainer) -> None:
        """Write the state after the last finished step, once, and remove what is older than `keep`."""
        if self._saved_step == trainer.global_step:
            return
        trainer.save_checkpoint(self.directory / f"step_{trainer.global_step:09d}.ckpt", weights_only=False)
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        if trainer.is_global_zero:
            for old in sorted(self.directory.glob("step_*.ckpt"))[: -self.keep]:
                old.unlink(missing_ok=True)


def agreed(trainer: pl.Trainer, flag: bool) -> bool:
    """True on all ranks if it is true on any (a collective where there are several)."""
    return flag if trainer.world_size == 1 else bool(trainer.strategy.reduce_boolean_decision(flag, all=False))
