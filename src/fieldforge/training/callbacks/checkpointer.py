"""The schedule of checkpoints: at intervals, at a request to stop, and at the end."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytorch_lightning as pl

from fieldforge.errors import UserError
from fieldforge.ranges import Count, NotNegative, Positive
from fieldforge.training.callbacks.context import Watcher
from fieldforge.training.callbacks.steps import StepCallback
from fieldforge.training.processes import interruption, ranks
from fieldforge.training.processes.checkpoints import FORMAT, remove_checkpoint
from fieldforge.training.processes.rhythm import Rhythm

log = logging.getLogger(__name__)
FAILURES = 3  # in a row; then a training that cannot be saved ends


class Checkpointer(StepCallback, Watcher):
    """Saves checkpoints at intervals, at a request to stop, and at the end; keeps the last two.

    A scheduled save that fails (a full disk) is reported, and training continues: the next save may succeed.

    Args:
        every_minutes: wall clock between checkpoints.
        every_steps: steps between additional checkpoints; None: no such checkpoints.
        keep: number of checkpoints to leave on disk.
        listen_seconds: about how long several processes go on before they agree on a request to stop; 0: in each step.
    """

    def __init__(
        self,
        every_minutes: Positive = 5.0,
        every_steps: Count | None = None,
        keep: Count = 2,
        listen_seconds: NotNegative = 1.0,
    ):
        self.keep = keep
        self.every_seconds, self.every_steps = 60 * every_minutes, every_steps
        self._saved_at = time.monotonic()
        self._saved_step = -1
        self._failures = 0
        self._rhythm = Rhythm(listen_seconds)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        interruption.install()  # the trainer has just put handlers of its own in their place

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        interruption.install()
        interruption.hold_ctrl_c()
        self._saved_at = time.monotonic()
        self._saved_step = trainer.global_step

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        stop = due = False
        if self._rhythm.due(trainer.global_step):
            stop, due = ranks.agree_to_stop_or(time.monotonic() - self._saved_at > self.every_seconds)
        if stop:
            trainer.should_stop = True
            trainer.limit_val_batches = 0  # no last look at held-out shapes: whoever sends a signal waits
            self.save(trainer)
        elif due or (self.every_steps is not None and trainer.global_step % self.every_steps == 0):
            self._try_to_save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        interruption.release_ctrl_c()
        self.save(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        interruption.release_ctrl_c()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["fieldforge"] = {"format": FORMAT, "step": trainer.global_step, **self.context.label}

    def save(self, trainer: pl.Trainer, changed: bool = False) -> None:
        """Write the state after the last finished step, once unless it has `changed`, and keep the last `keep`.

        Raises:
            UserError: the checkpoint cannot be written; in all processes.
        """
        if self._saved_step == trainer.global_step and not changed:
            return
        trainer.save_checkpoint(self.context.checkpoints / f"step_{trainer.global_step:09d}.ckpt", weights_only=False)
        self._saved_at, self._saved_step, self._failures = time.monotonic(), trainer.global_step, 0
        if trainer.is_global_zero:
            for old in sorted(self.context.checkpoints.glob("step_*.ckpt"))[: -self.keep]:
                remove_checkpoint(old)

    def _try_to_save(self, trainer: pl.Trainer) -> None:
        try:
            self.save(trainer)
        except UserError as error:
            self._failures += 1
            if self._failures == FAILURES:
                raise
            self._saved_at = time.monotonic()
            log.warning("warning: %s; training goes on and tries again", error)
