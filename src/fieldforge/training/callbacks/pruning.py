"""Pruning: ends a run that is worse than others at the same step, on the verdict of a separate judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pytorch_lightning as pl

from fieldforge.errors import UserError
from fieldforge.training.callbacks.context import Watcher
from fieldforge.training.callbacks.judges import PREFIX
from fieldforge.training.processes import ranks


def is_judged(metric: str) -> bool:
    """Whether a metric is one of `Judges`."""
    return metric.startswith(PREFIX)


class Judge(Protocol):
    def prune(self, step: int, value: float) -> bool:
        """Records the objective's value at a step, and returns whether the run should end."""


class Pruned(Exception):
    """Pruning has ended the run and kept its checkpoint: the same command without a judge continues from it."""

    def __init__(self, step: int, value: float, run: Path):
        super().__init__(f"pruned at step {step}")
        self.step, self.value, self.run = step, value, run


class Pruning(Watcher):
    """Hands a logged metric to a judge at each validation, and ends the run on the judge's verdict.

    Args:
        metric: name of a logged metric.
        judge: called in the first process alone; all processes follow its verdict.
        stages: all stages of the training; the metric belongs to the last stage.

    A measure of `Judges` is handed over once it has been judged, its last value at each validation.

    Raises (while training):
        UserError: no such metric is logged; the sentence lists the metrics.
        Pruned: after the state is saved.
    """

    def __init__(self, metric: str, judge: Judge, stages: Sequence[str]):
        self.metric, self.judge = metric, judge
        self.earlier = tuple(stages)[:-1]
        self._ended: Pruned | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.context.stage in self.earlier or trainer.sanity_checking:
            return
        logged = trainer.callback_metrics
        if self.metric not in logged and is_judged(self.metric) and not any(map(is_judged, logged)):
            return  # nothing has been judged so far
        if self.metric not in logged:
            raise UserError(
                f"search.objective = {self.metric} is not logged: choose one of {', '.join(sorted(logged))}"
            )
        value = float(logged[self.metric])
        prune = ranks.rank() == 0 and self.judge.prune(trainer.global_step, value)
        if ranks.of_first(prune) and not trainer.should_stop:  # (not at the end of its budget: it is finished then)
            self._ended = Pruned(trainer.global_step, value, Path(trainer.default_root_dir))
            trainer.should_stop = True

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._ended is not None:  # (the checkpointer has saved, in on_train_end)
            raise self._ended
