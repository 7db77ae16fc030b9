"""A callback that lets a test meet a training in the middle of a step."""

import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from fieldforge.training.callbacks.context import TrainingContext, Watcher
from fieldforge.training.processes import interruption


class Hold(Watcher):
    """Once in a run, in the given step of each stage, rank 0 waits before the backward pass until a signal has come.

    Other ranks wait for it in their backward pass, as they would for a slow one. That rank 0 has come there shows as
    the file `held_<stage>`; a run that finds it goes on without waiting.

    Args:
        folder: where the file is made.
        steps: stage → step.
    """

    def __init__(self, folder: str, steps: dict[str, int]):
        self.folder, self.steps = Path(folder), dict(steps)

    def watch(self, context: TrainingContext) -> None:
        super().watch(context)
        self.mark, self.step = self.folder / f"held_{context.stage}", self.steps.get(context.stage)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        if trainer.global_step != self.step or not trainer.is_global_zero or self.mark.exists():
            return
        self.mark.touch()
        deadline = time.monotonic() + 300
        while interruption.noted() is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no signal came in step {self.step}")
            time.sleep(0.05)
