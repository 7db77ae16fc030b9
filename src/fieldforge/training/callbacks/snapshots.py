"""Snapshots of moving averages of several lengths, for averages of other lengths after training (post-hoc EMA)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl

from fieldforge.errors import UserError
from fieldforge.nn.ema import EMA, PowerDecay
from fieldforge.ranges import Count
from fieldforge.terminal import quantity
from fieldforge.training.callbacks.context import TrainingContext, Watcher
from fieldforge.training.callbacks.steps import StepCallback
from fieldforge.training.processes import interruption, ranks
from fieldforge.training.processes.checkpoints import FORMAT, save_atomically
from fieldforge.training.processes.sharded_state import gathered
from fieldforge.training.processes.strategies import placed_like

FOLDER = "snapshots"  # in a run's directory


class Snapshots(StepCallback, Watcher):
    """Writes power-function averages of the weights to files (Karras et al. 2023, "EDM2", section 3.2).

    Files are `step_<n>_std_<s>.ckpt` in the run's folder `snapshots`. They do not change the training;
    `stages.ema_length` combines them.

    State: the averages, saved with the checkpoint.

    Args:
        every_steps: steps between snapshots; another snapshot follows at the end.
        stds: lengths of the averages, relative to the training so far; each average is as large as the model.
        stages: stages whose averages are kept.
    """

    def __init__(
        self,
        every_steps: Count = 500,
        stds: Sequence[float] = (0.05, 0.1),
        stages: Sequence[str] = ("diffusion", "prior"),
    ):
        if every_steps < 1 or not stds:
            raise UserError("callbacks.snapshots: every_steps must be at least 1, and stds name at least one length")
        self.every_steps, self.stages = every_steps, tuple(stages)
        self._decays = {f"{std:.3f}": PowerDecay(std) for std in stds}
        self._averages: dict[str, EMA] = {}
        self._restored: dict[str, Any] | None = None

    def watch(self, context: TrainingContext) -> None:
        super().watch(context)
        self._decays = self._decays if context.stage in self.stages else {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._averages = {std: EMA(pl_module, decay) for std, decay in self._decays.items()}
        if self._restored is not None:
            self.load_state_dict(self._restored)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._decays and trainer.global_step and (self._restored or {}).keys() != self._decays.keys():
            steps = quantity(trainer.global_step, "step")
            raise UserError(
                f"callbacks.snapshots: this training has gone {steps} without averages of stds "
                f"{', '.join(self._decays)}: go on as it began, or start another, with another seed, say"
            )
        self._restored = None

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for average in self._averages.values():
            average.update(pl_module, trainer.global_step)
        if trainer.global_step % self.every_steps == 0:
            self._write(trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if interruption.noted() is None and trainer.global_step % self.every_steps:
            self._write(trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {std: average.state_dict() for std, average in self._averages.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict
        for std in self._averages.keys() & state_dict.keys():
            average = self._averages[std]
            average.load_state_dict(placed_like(state_dict[std], average.average))

    def _write(self, step: int) -> None:
        for std, average in self._averages.items():
            label = {"format": FORMAT, "fingerprint": self.context.fingerprint, "step": step, "std": float(std)}
            content = {"fieldforge": label, "average": gathered(average.state_dict())}
            path = self.context.run / FOLDER / f"step_{step:09d}_std_{std}.ckpt"
            ranks.first_alone(lambda content=content, path=path: save_atomically(content, path))  # type: ignore[misc]
