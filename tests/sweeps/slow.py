"""A training that waits in the middle of a step until somebody sends a signal."""

import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from fieldforge.training.processes import interruption


class Waiting(pl.Callback):
    def __init__(self, step: int):
        self.step = step

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        if trainer.global_step == self.step:
            Path("waiting").touch()
            until = time.monotonic() + 200
            while interruption.noted() is None and time.monotonic() < until:
                time.sleep(0.05)
