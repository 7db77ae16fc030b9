"""Pictures of the model's outputs during training."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytorch_lightning as pl

from fieldforge.ranges import Positive
from fieldforge.rendering.gallery import Exhibit
from fieldforge.terminal import status
from fieldforge.training.callbacks.context import Draw, TrainingContext, Watcher
from fieldforge.training.callbacks.steps import StepCallback, logs_now
from fieldforge.training.callbacks.tolerance import Tolerance
from fieldforge.training.processes import interruption, ranks

log = logging.getLogger(__name__)


class Pictures(StepCallback, Watcher):
    """Draws pictures with the averaged weights at intervals and at the end, if the stage draws any.

    Files are `step_<n>.png` in the run's folder of pictures; loggers with support for pictures get them too, and those
    with support for samples each sample.

    Args:
        every_minutes: wall clock between pictures.
    """

    def __init__(self, every_minutes: Positive = 10.0):
        self.every_seconds = 60 * every_minutes
        self._drawn_at = time.monotonic()

    def watch(self, context: TrainingContext) -> None:
        super().watch(context)
        self._tolerance = Tolerance(context.pictures)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._drawn_at = time.monotonic()

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if logs_now(trainer) and any(ranks.agreed(time.monotonic() - self._drawn_at > self.every_seconds)):
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if interruption.noted() is None:  # whoever sends a signal waits
            self._show(trainer, pl_module)

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        draw = self.context.draw
        if draw is None:
            return
        path = self.context.pictures / f"step_{trainer.global_step:09d}.png"
        exhibits: list[Exhibit] = []
        self.context.ema.show(pl_module, lambda module: self._draw(draw, module, path, exhibits))
        if trainer.is_global_zero and path.is_file():
            for logger in trainer.loggers:
                if hasattr(logger, "log_image"):
                    logger.log_image("pictures", [str(path)], step=trainer.global_step)
                if hasattr(logger, "log_exhibits"):
                    logger.log_exhibits(exhibits, step=trainer.global_step)
        self._drawn_at = time.monotonic()

    def _draw(self, draw: Draw, module: pl.LightningModule, path: Path, exhibits: list[Exhibit]) -> None:
        with self._tolerance:
            path.parent.mkdir(parents=True, exist_ok=True)
            status(f"draws {path}")
            exhibits += draw(module, path)
