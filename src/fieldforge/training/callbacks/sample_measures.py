"""Measures of a diffusion model's samples during training: logged metrics, which a sweep can rank by."""

from __future__ import annotations

import json

import pytorch_lightning as pl

from fieldforge.ranges import Count
from fieldforge.training.callbacks.context import Measure, Sampling, Watcher
from fieldforge.training.callbacks.steps import StepCallback
from fieldforge.training.processes import ranks


class SampleMeasures(StepCallback, Watcher):
    """Logs `samples/<name>` with the averaged weights, at intervals and at the end of the budget.

    It logs nothing for a stage without samples.

    Args:
        every_steps: steps between two measurements.
        count, steps, scale, at_a_time: samples, sampler steps, guidance scale, batch size.
    """

    def __init__(
        self,
        every_steps: Count = 500,
        count: Count = 96,
        steps: Count = 12,
        scale: float = 3.0,
        at_a_time: Count = 12,
    ):
        self.every_steps = every_steps
        self.sampling = Sampling(count, steps, scale, at_a_time)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        measure = self.context.measure

        def prepare() -> str:
            if measure:
                measure.prepare()
            return ""

        ranks.first_alone(prepare)

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        measure = self.context.measure
        if measure and (trainer.global_step % self.every_steps == 0 or self.context.clock.is_spent(trainer)):
            pl_module.log_dict({f"samples/{name}": value for name, value in self._numbers(measure, pl_module).items()})

    def _numbers(self, measure: Measure, pl_module: pl.LightningModule) -> dict[str, float]:
        text = self.context.ema.show(pl_module, lambda module: json.dumps(measure(module, self.sampling)))
        numbers: dict[str, float] = json.loads(text)
        return numbers
