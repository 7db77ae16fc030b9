"""Stops a run that is worse than others were at the same step; who judges that is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pytorch_lightning as pl

from fieldforge.errors import UserError
from fieldforge.training.callbacks.context import Watcher
from fieldforge.training.processes import ranks


class Judge(Protocol):
    def prune(self, step: int, value: float) -> bool:
        """Note the objective's value at a step; is it so bad that the run should end?"""


class Pruned(Exception):
    """A run ended early, with its checkpoint kept: the same command without a judge goes on from there."""

    def __init__(self, step: int, value: float, run: Path):
        super().__init__(f"pruned at step {step}")
        self.step, self.value, self.run = step, value, run


class Pruning(Watcher):
    """Hands a logged metric to a judge at each validation and ends the run when the judge says so.

    Args:
        metric: one of those that are logged.
        judge: asked on the first process alone; all follow.
        stages: of the whole road; the metric is that of the last one.

    Raises (while training):
        UserError: there is no such metric; says which there are.
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
