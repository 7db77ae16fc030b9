"""What samples of a diffusion model are worth, while it trains: rows of the table, and what a sweep can rank by."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytorch_lightning as pl
import torch

from fieldforge.ranges import Count
from fieldforge.training.callbacks.averaging import EMACallback
from fieldforge.training.callbacks.budget import BudgetCallback
from fieldforge.training.callbacks.steps import StepCallback
from fieldforge.training.processes import ranks
from fieldforge.training.processes.strategies import where_there_is_room


@dataclass(frozen=True)
class Sampling:
    """`count` samples of as many conditions out of the training split, `at_a_time` of them together."""

    count: int
    steps: int
    scale: float
    at_a_time: int


Measure = Callable[[pl.LightningModule, Sampling], dict[str, float]]
"""A module with its averaged weights → numbers of its samples by name."""


class SampleMeasures(StepCallback):
    """Logs `samples/<name>` with the averaged weights, every so many steps and at the end of the budget.

    Args:
        measure: see `Measure`; draws its random numbers from generators of its own, so that training is not changed.
        ema: has the averaged weights.
        clock: knows when the budget ends.
        every_steps: between two looks.
        count, steps, scale, at_a_time: samples, steps of the sampler, guidance, and how many are drawn together.
    """

    def __init__(
        self,
        measure: Measure,
        ema: EMACallback,
        clock: BudgetCallback,
        every_steps: Count = 500,
        count: Count = 96,
        steps: Count = 12,
        scale: float = 3.0,
        at_a_time: Count = 12,
    ):
        self.measure, self.ema, self.clock, self.every_steps = measure, ema, clock, every_steps
        self.sampling = Sampling(count, steps, scale, at_a_time)

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step % self.every_steps == 0 or self.clock.is_spent(trainer):
            pl_module.log_dict({f"samples/{name}": value for name, value in self._measured(pl_module).items()})

    @torch.no_grad()
    def _measured(self, pl_module: pl.LightningModule) -> dict[str, float]:
        was_training = pl_module.training
        pl_module.eval()
        with self.ema.averaged(pl_module) as averaged:

            def measure() -> str:
                module = where_there_is_room(averaged, pl_module.device).eval()
                return json.dumps(self.measure(module, self.sampling))

            measured: dict[str, float] = json.loads(ranks.first_alone(measure))
        pl_module.train(was_training)
        return measured
