"""Throughput of a training, and its progress line."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

import pytorch_lightning as pl

from fieldforge.ranges import NotNegative
from fieldforge.terminal import duration, printable
from fieldforge.training.callbacks.context import Watcher
from fieldforge.training.callbacks.steps import logs_now, step_ended


class Throughput(Watcher):
    """Logs samples per second, seconds per step and the share of the time spent waiting for data.

    The data module measures the waiting (`waited_seconds`); validation, pictures and checkpoints do not count.
    """

    def __init__(self) -> None:
        self._began = 0.0
        self._working, self._steps = 0.0, 0
        self._waited_before = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._waited_before = _waited(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._began = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._working += time.monotonic() - self._began
        self._steps += step_ended(trainer)
        if logs_now(trainer):
            waited = _waited(trainer) - self._waited_before
            seconds = self._working + waited
            pl_module.log_dict(
                {
                    "speed/samples_per_second": self._steps * self.context.batch_size / seconds,
                    "speed/step_seconds": seconds / self._steps,
                    "speed/data_wait": waited / seconds,
                }
            )
            self._working, self._steps = 0.0, 0
            self._waited_before = _waited(trainer)


def _waited(trainer: pl.Trainer) -> float:
    return trainer.datamodule.waited_seconds  # type: ignore[attr-defined]


class Progress(pl.callbacks.ProgressBar, Watcher):
    """Progress line: stage, step, share of the budget, time left, loss. Without a terminal it prints plain lines.

    Args:
        quiet_seconds: between lines when stderr is not a terminal.
    """

    def __init__(self, quiet_seconds: NotNegative = 60.0):
        super().__init__()
        self._live = sys.stderr.isatty()
        self._pause = 0.5 if self._live else quiet_seconds
        self._print_time = 0.0
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        now = time.monotonic()
        if self._enabled and step_ended(trainer) and now - self._print_time > self._pause:
            self._print_time = now
            self._show(trainer, outputs)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._say("first step: data workers start, memory is laid out")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._say("validates")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._enabled:
            self._show(trainer, None, last=True)

    def _say(self, text: str) -> None:
        """Shows the work between two steps; without a terminal only if the last line is `quiet_seconds` old."""
        now = time.monotonic()
        if self._enabled and (self._live or now - self._print_time > self._pause):
            self._print_time = now
            self._print(f"{self.context.title}: {text} …", end="" if self._live else "\n")

    def _show(self, trainer: pl.Trainer, outputs: Any, last: bool = False) -> None:
        step, seconds, budget = trainer.global_step, self.context.clock.seconds, self.context.clock.budget
        share = budget.progress(step, seconds)
        left = budget.seconds_left(step, seconds)
        loss = float(outputs["loss"]) if isinstance(outputs, dict) and "loss" in outputs else None
        least = f" of at least {budget.min_steps}" if budget.max_minutes and step < budget.min_steps else ""
        parts = [f"{self.context.title} {share:4.0%}", f"step {step}{least}"]
        if not last:
            parts.append(f"{duration(left)} left")
        parts.append(f"{duration(seconds)} spent")
        speed = trainer.logged_metrics
        if "speed/samples_per_second" in speed:
            parts.append(f"{float(speed['speed/samples_per_second']):.1f} samples/s")
            parts.append(f"data wait {float(speed['speed/data_wait']):.0%}")
        if loss is not None:
            parts.append(f"loss {loss:.4f}")
        line = " · ".join(parts)
        if self._live:
            filled = round(24 * share)
            line = f"{'━' * filled}{'╌' * (24 - filled)} {line}"
        self._print(line, end="\n" if last or not self._live else "")

    def _print(self, line: str, end: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone, a log on a full disk
            line = printable(line)
            print(f"\r{line}\x1b[K" if self._live else line, end=end, file=sys.stderr, flush=True)
