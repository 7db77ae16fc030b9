"""Rollback to the last checkpoint where skipping bad steps does not help; in the end one sentence stops the run."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl

from fieldforge.errors import UserError
from fieldforge.ranges import Count, Whole
from fieldforge.terminal import quantity
from fieldforge.training.callbacks.averaging import EMACallback
from fieldforge.training.callbacks.checkpointer import Checkpointer
from fieldforge.training.callbacks.context import TrainingContext, Watcher
from fieldforge.training.callbacks.snapshots import Snapshots
from fieldforge.training.callbacks.steps import StepCallback, logs_now
from fieldforge.training.processes import ranks
from fieldforge.training.processes.checkpoints import find_last

log = logging.getLogger(__name__)


class Recovery(StepCallback, Watcher):
    """Rolls weights, optimiser and moving average back to the last checkpoint after many skipped steps.

    The step count and the data continue: the restored weights do not see the batches of the bad steps again. The
    restored state is saved at once. The callback checks where metrics are logged, as this waits for the device.

    State: the number of rollbacks, and of skipped steps at the last rollback, saved with the checkpoint.

    Args:
        spike: a step with a loss above this multiple of the reference level is skipped, see `GradientGuard`; None:
            no such limit.
        window: number of steps over which bad steps are counted.
        patience: this many bad steps within a window cause a rollback.
        rollbacks: the largest number of rollbacks; then the run ends.
    """

    def __init__(self, spike: float | None = 10.0, window: Count = 100, patience: Count = 10, rollbacks: Whole = 3):
        if spike is not None and spike <= 1:
            raise UserError(f"callbacks.recovery.spike = {spike}: give a factor above 1, or null for no limit")
        if not 1 <= patience <= window or rollbacks < 0:
            raise UserError("callbacks.recovery: patience must be between 1 and window, and rollbacks at least 0")
        self.spike, self.window, self.patience, self.rollbacks = spike, window, patience, rollbacks
        self._count = 0
        self._history: list[tuple[int, int]] = [(0, 0)]  # (step, bad steps up to it), those within the window

    def watch(self, context: TrainingContext) -> None:
        super().watch(context)
        context.guard.ends_run = False
        context.guard.spike = context.guard.spike if self.spike is None else self.spike

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not logs_now(trainer):
            return
        step, bad = trainer.global_step, self.context.guard.skipped()
        pl_module.log("train/rollbacks", float(self._count))
        new = bad - self._history[-1][1]
        if new:
            log.warning("warning: %s left out up to step %d", quantity(new, "bad step"), step)
        self._history = [entry for entry in self._history if entry[0] >= step - self.window] or self._history[-1:]
        trouble, since = bad - self._history[0][1], self._history[0][0]
        if trouble < self.patience:
            self._history.append((step, bad))
        else:
            self._history = [(step, bad)]  # counted afresh, also by whoever resumes from the checkpoint that is written
            self._go_back(trainer, trouble, since)

    def state_dict(self) -> dict[str, Any]:
        return {"done": self._count, "seen": [list(entry) for entry in self._history]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._count = int(state_dict["done"])
        self._history = [(int(step), int(bad)) for step, bad in state_dict["seen"]]

    def _go_back(self, trainer: pl.Trainer, bad: int, since: int) -> None:
        trouble = f"{bad} of the steps {since + 1} to {trainer.global_step} had a loss or gradient beyond use"
        advice = "lower optimizer.lr or use trainer.precision=32-true, and run the command again"
        if self._count == self.rollbacks:
            raise UserError(f"{trouble}, after {quantity(self._count, 'return')} to an earlier checkpoint: {advice}")
        path = ranks.first_alone(lambda: self._last(since))
        if not path:
            raise UserError(f"{trouble}, and there is no checkpoint yet to go back to: {advice}")
        self._count += 1
        times = quantity(self.rollbacks, "time")
        log.warning("warning: %s; weights go back to %s (%d of %s)", trouble, path, self._count, times)
        checkpoint = trainer.strategy.load_checkpoint(path)
        trainer.strategy.load_model_state_dict(checkpoint)
        trainer.strategy.load_optimizer_state_dict(checkpoint)
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            if isinstance(callback, EMACallback | Snapshots):
                callback.load_state_dict(checkpoint["callbacks"][callback.state_key])
        for callback in callbacks:
            if isinstance(callback, Checkpointer):
                callback.save(trainer, changed=True)

    def _last(self, step: int) -> str | None:
        """The last checkpoint before the bad steps."""
        checkpoint = find_last(self.context.checkpoints, self.context.fingerprint, at_most=step)
        return str(checkpoint.path) if checkpoint else None
