"""The budget of a stage in steps and minutes, and the learning rate schedule that follows from it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl

from fieldforge.errors import UserError
from fieldforge.ranges import Count, Positive, Share, Whole
from fieldforge.training.callbacks.schedule import learning_rate
from fieldforge.training.callbacks.steps import StepCallback, logs_now
from fieldforge.training.processes import ranks
from fieldforge.training.processes.rhythm import Rhythm


@dataclass(frozen=True)
class Budget:
    """The budget of a stage, which ends at the first limit that it reaches.

    Args:
        max_steps: optimiser steps.
        min_steps: steps before which `max_minutes` does not apply: a slow or busy machine trains longer, not less.
        max_minutes: minutes of wall clock, summed over interruptions; None: only steps count. With a limit in
            minutes the result depends on the speed of the machine: two runs are then similar, not equal.
        warmup_steps: linear warm-up of the learning rate.
        final_rate: learning rate at the end, as a share of the peak.
    """

    max_steps: Count
    max_minutes: Positive | None = None
    min_steps: Whole = 0
    warmup_steps: Whole = 100
    final_rate: Share = 0.02

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise UserError(f"budget.max_steps = {self.max_steps}: a stage needs at least 1 step")
        if self.max_minutes is not None and self.max_minutes <= 0:
            raise UserError(f"budget.max_minutes = {self.max_minutes}: give a positive number, or null for no limit")
        if self.warmup_steps < 0 or not 0 <= self.final_rate <= 1:
            raise UserError("budget.warmup_steps must be at least 0 and budget.final_rate between 0 and 1")

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget that is spent, 0 … 1: the larger of the shares of steps and minutes."""
        share = step / self.max_steps
        if self.max_minutes is not None:
            of_minutes = min(seconds / (60 * self.max_minutes), 1.0)
            of_least = step / self.min_steps if self.min_steps else 1.0
            share = max(share, min(of_minutes, of_least))
        return min(share, 1.0)

    def short(self, steps: int) -> bool:
        """Whether a training of this many steps hardly left the warm-up: its model has learned nothing yet."""
        return steps < 2 * self.warmup_steps

    def rate(self, step: int, seconds: float) -> float:
        """Learning rate of the next step as a share of the peak."""
        return learning_rate(step, self.progress(step, seconds), self.warmup_steps, self.final_rate)

    def seconds_left(self, step: int, seconds: float) -> float | None:
        """Estimate from the pace so far; None before the first step."""
        spent = self.progress(step, seconds)
        return None if spent <= 0 or seconds <= 0 else max(0.0, seconds / spent - seconds)


class BudgetCallback(StepCallback):
    """Keeps the clock, sets the learning rate before each step, and ends the stage when the budget is spent.

    State: the seconds spent so far, saved with the checkpoint.
    """

    def __init__(self, budget: Budget):
        self.budget = budget
        self._before = 0.0  # seconds spent by earlier processes
        self._since: float | None = None
        self._rhythm, self._agreed = Rhythm(), 0.0  # the seconds by which all processes decide

    @property
    def seconds(self) -> float:
        return self._before + (time.monotonic() - self._since if self._since is not None else 0.0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.monotonic()
        self._agree()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        factor = self.budget.rate(trainer.global_step, self._agreed)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = factor * group["initial_lr"]

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if logs_now(trainer):
            pl_module.log("train/learning_rate", trainer.optimizers[0].param_groups[0]["lr"])
        if self.budget.max_minutes is not None and self._rhythm.due(trainer.global_step):
            self._agree()
        if self.is_spent(trainer):
            trainer.should_stop = True

    def _agree(self) -> None:
        """Takes the first process's clock, so that all processes decide alike; none where minutes do not count."""
        if self.budget.max_minutes is not None:
            self._agreed = ranks.of_first(self.seconds)

    def is_spent(self, trainer: pl.Trainer) -> bool:
        """Whether this is the last step; in all processes alike."""
        return self.budget.progress(trainer.global_step, self._agreed) >= 1

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self._before = float(state_dict["seconds"])
