"""What the model makes, as pictures, while it trains."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
import torch

from fieldforge.ranges import Positive
from fieldforge.terminal import status
from fieldforge.training.callbacks.averaging import EMACallback
from fieldforge.training.callbacks.steps import StepCallback, logs_now
from fieldforge.training.callbacks.tolerance import Tolerance
from fieldforge.training.processes import interruption, ranks
from fieldforge.training.processes.strategies import where_there_is_room

log = logging.getLogger(__name__)
Draw = Callable[[pl.LightningModule, Path], None]


class Pictures(StepCallback):
    """Calls `draw(module, path.png)` with the averaged weights every so many minutes and at the end.

    Args:
        draw: writes one picture; draws its random numbers from generators of its own, so that training is not changed.
        directory: gets `step_<n>.png`; loggers that take pictures get them too.
        ema: has the averaged weights.
        every_minutes: wall clock between pictures.
    """

    def __init__(self, draw: Draw, directory: Path, ema: EMACallback, every_minutes: Positive = 10.0):
        self.draw, self.directory, self.ema = draw, directory, ema
        self.every_seconds = 60 * every_minutes
        self._drawn_at = time.monotonic()
        self._tolerance = Tolerance(directory)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._drawn_at = time.monotonic()

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if logs_now(trainer) and any(ranks.agreed(time.monotonic() - self._drawn_at > self.every_seconds)):
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if interruption.noted() is None:  # whoever sends a signal waits
            self._show(trainer, pl_module)

    @torch.no_grad()
    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        path = self.directory / f"step_{trainer.global_step:09d}.png"
        was_training = pl_module.training
        pl_module.eval()
        with self.ema.averaged(pl_module) as averaged:
            ranks.first_alone(lambda: self._draw(where_there_is_room(averaged, pl_module.device).eval(), path))
        pl_module.train(was_training)
        if trainer.is_global_zero and path.is_file():
            for logger in trainer.loggers:
                if hasattr(logger, "log_image"):
                    logger.log_image("pictures", [str(path)], step=trainer.global_step)
        self._drawn_at = time.monotonic()

    def _draw(self, module: pl.LightningModule, path: Path) -> None:
        with self._tolerance:
            self.directory.mkdir(parents=True, exist_ok=True)
            status(f"draws {path}")
            self.draw(module, path)
