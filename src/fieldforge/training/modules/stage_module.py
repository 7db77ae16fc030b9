"""Common base of all stages' Lightning modules: random numbers of a step, and metrics over the global batch."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor

from fieldforge.noise.randomness import StepRandomness
from fieldforge.training.callbacks.steps import logs_next


class StageModule(pl.LightningModule):
    """A step is the same for any split of its global batch over processes and accumulated batches.

    The samples of a batch are dealt to the processes one by one, as `data.order.rank_positions` deals them.

    Args:
        seed: with the step and a sample's place in the batch it determines every random number of a step.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed
        self._parts: list[Tensor] = []  # (values,) of the batches of a step that is logged

    def randomness(self, size: int, batch_idx: int) -> StepRandomness:
        """Random numbers of the `size` samples that this process has in training batch `batch_idx`."""
        world, accumulated = self.trainer.world_size, self.trainer.accumulate_grad_batches
        first = (batch_idx % accumulated) * size * world + self.global_rank
        slots = range(first, first + size * world, world)
        return StepRandomness(self.seed, self.global_step, slots, size * world * accumulated, self.device)

    def heldout_randomness(self, size: int, batch_idx: int) -> StepRandomness:
        """Random numbers of a held-out batch, the same in every validation."""
        world = self.trainer.world_size
        slots = range(self.global_rank, size * world, world)
        return StepRandomness(self.seed, batch_idx, slots, size * world, self.device, "validation")

    def log_step(self, values: Mapping[str, Tensor]) -> None:
        """Log means over samples as `train/<name>`, over all processes and accumulated batches, where a row is due."""
        if not logs_next(self.trainer):
            return
        self._parts.append(torch.stack([value.detach().float() for value in values.values()]))  # (values,)
        if len(self._parts) < self.trainer.accumulate_grad_batches:
            return
        mean = self.trainer.strategy.reduce(torch.stack(self._parts).mean(0), reduce_op="mean")  # (values,)
        self._parts = []
        self.log_dict({f"train/{name}": value for name, value in zip(values, mean, strict=True)})  # type: ignore[arg-type]

    def log_heldout(self, values: Mapping[str, Tensor | float], size: int) -> None:
        """Log means over the `size` samples of a held-out batch as `heldout/<name>`, over all processes."""
        named = {f"heldout/{name}": value for name, value in values.items()}
        self.log_dict(named, batch_size=size, sync_dist=True)  # type: ignore[arg-type]
