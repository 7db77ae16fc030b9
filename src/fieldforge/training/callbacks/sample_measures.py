"""What samples of a diffusion model are worth, while it trains: rows of the table, and what a sweep can rank by."""

from __future__ import annotations

import json

import pytorch_lightning as pl
import torch

from fieldforge.ranges import Count
from fieldforge.training.callbacks.context import Measure, Sampling, Watcher
from fieldforge.training.callbacks.steps import StepCallback
from fieldforge.training.processes import ranks
from fieldforge.training.processes.strategies import where_there_is_room


class SampleMeasures(StepCallback, Watcher):
    """Logs `samples/<name>` with the averaged weights, every so many steps and at the end of the budget.

    Nothing where the stage makes no samples.

    Args:
        every_steps: between two looks.
        count, steps, scale, at_a_time: samples, steps of the sampler, guidance, and how many are drawn together.
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

    @torch.no_grad()
    def _numbers(self, measure: Measure, pl_module: pl.LightningModule) -> dict[str, float]:
        was_training = pl_module.training
        pl_module.eval()
        with self.context.ema.averaged(pl_module) as averaged:

            def numbers() -> str:
                module = where_there_is_room(averaged, pl_module.device).eval()
                return json.dumps(measure(module, self.sampling))

            measured: dict[str, float] = json.loads(ranks.first_alone(numbers))
        pl_module.train(was_training)
        return measured
