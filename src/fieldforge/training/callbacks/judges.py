"""Judges: measures of held-out samples during training, within a share of its time."""

from __future__ import annotations

import json
import logging
import math
import time
from typing import Literal

import pytorch_lightning as pl

from fieldforge.errors import UserError, memory_shortage
from fieldforge.ranges import Count, GridCells, Positive
from fieldforge.terminal import status
from fieldforge.training.callbacks.context import Measure, Sampling, Watcher
from fieldforge.training.callbacks.steps import StepCallback, logs_now
from fieldforge.training.processes import interruption, ranks

log = logging.getLogger(__name__)
PREFIX = "judge/"


class Judges(StepCallback, Watcher):
    """Logs `judge/<measure>` with the averaged weights, at intervals and at the end of the budget.

    It logs nothing for a stage that measures nothing. `speed/judge_share` is the share of the training's time that it
    has taken so far. A judgement that fails is left out with a warning. It keeps no state in checkpoints.

    Args:
        every_minutes: wall clock between judgements, at least. It is longer where their share of the time since the
            training began in this process would exceed `share`; the cost of the next is that of the last.
        share: the largest share of time. The first judgement, whose cost is unknown, and that at the end may exceed it.
        every_steps: steps between judgements, in the place of both; None: the clock counts.
        count: samples.
        split: of the samples.
        resolution: of the outputs.
        steps, scale, at_a_time: of a diffusion model: sampler steps, guidance scale, batch size.
    """

    def __init__(
        self,
        every_minutes: Positive = 10.0,
        share: Positive = 0.03,
        every_steps: Count | None = None,
        count: Count = 8,
        split: Literal["heldout", "train"] = "heldout",
        resolution: GridCells | None = 64,
        steps: Count = 12,
        scale: float = 3.0,
        at_a_time: Count = 4,
    ):
        if share >= 1:
            raise UserError(f"callbacks.judges.share={share} must be below 1: 0.03 is three hundredths of the time")
        self.every_seconds, self.share, self.every_steps = 60 * every_minutes, share, every_steps
        self.sampling = Sampling(count, steps, scale, at_a_time, split, resolution)
        self._began = self._judged_at = 0.0  # by the monotonic clock
        self._spent = self._last = 0.0  # seconds: of all judgements, and of the last one
        self._next_step = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = self._judged_at = time.monotonic()
        measure = self.context.measure

        def prepare() -> str:
            if measure:
                status(f"{self.context.title}: reads the samples to judge by")
                measure.prepare(self.sampling)
                status("")
            return ""

        ranks.first_alone(prepare)
        self._spent = time.monotonic() - self._began

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._plan(trainer.global_step)

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        measure = self.context.measure
        if measure is None or not (self.context.clock.is_spent(trainer) or self._is_due(trainer)):
            return
        started = time.monotonic()
        numbers = self._numbers(measure, pl_module)
        self._judged_at = time.monotonic()
        self._last = self._judged_at - started
        self._spent += self._last
        self._plan(trainer.global_step)
        share = self._spent / max(self._judged_at - self._began, 1e-9)
        self._log(trainer, pl_module, {f"{PREFIX}{name}": value for name, value in numbers.items()}, share)

    def _log(self, trainer: pl.Trainer, pl_module: pl.LightningModule, numbers: dict[str, float], share: float) -> None:
        """Hands the numbers to callbacks, which see them from now on, and to the row of this step alone."""
        pl_module.log_dict({**numbers, "speed/judge_share": share}, logger=False)
        for logger in trainer.loggers:
            logger.log_metrics({**numbers, "speed/judge_share": share}, trainer.global_step - 1)  # rows count from 0

    def _plan(self, step: int) -> None:
        """The next multiple of `every_steps`."""
        self._next_step = step - step % self.every_steps + self.every_steps if self.every_steps else 0

    def _is_due(self, trainer: pl.Trainer) -> bool:
        """Whether to judge after this step; in all processes alike."""
        if not logs_now(trainer):
            return False
        if self.every_steps:
            return trainer.global_step >= self._next_step
        now = time.monotonic()
        affordable = self._spent + self._last <= self.share * (now - self._began + self._last)
        due = now - self._judged_at >= self.every_seconds and affordable
        return any(ranks.agreed(due and interruption.noted() is None))

    def _numbers(self, measure: Measure, pl_module: pl.LightningModule) -> dict[str, float]:
        """The finite measures; none where measuring fails."""

        def look(module: pl.LightningModule) -> str:
            status(f"{self.context.title}: judges {self.sampling.count} samples")
            try:
                numbers = measure(module, self.sampling)
            except (ArithmeticError, AssertionError, LookupError, RuntimeError, ValueError) as error:
                if memory_shortage(error) is not None or interruption.leaves():
                    raise
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                log.warning("warning: the samples cannot be judged (%s); the training goes on", reason)
                numbers = {}
            status("")
            return json.dumps({name: value for name, value in numbers.items() if math.isfinite(value)})

        numbers: dict[str, float] = json.loads(self.context.ema.show(pl_module, look))
        return numbers
