"""Step hooks for callbacks: a step consists of `accumulate_grad_batches` batches."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


class StepCallback(pl.Callback):
    """A callback with a hook at the end of each step, not of each accumulated batch."""

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The optimiser has made step number `trainer.global_step`."""
        raise NotImplementedError

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if step_ended(trainer):
            self.on_step_end(trainer, pl_module)


def step_ended(trainer: pl.Trainer) -> bool:
    """At the end of a batch: whether it was the last one of its step."""
    batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    return batches % trainer.accumulate_grad_batches == 0


def logs_now(trainer: pl.Trainer) -> bool:
    """At the end of a batch: whether a step has ended whose values are logged."""
    return step_ended(trainer) and trainer.global_step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]


def logs_next(trainer: pl.Trainer) -> bool:
    """Within a step: whether its values will be logged."""
    return (trainer.global_step + 1) % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
