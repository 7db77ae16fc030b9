"""Common base of denoiser training and distillation: steps on latents under a condition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fieldforge.conditioning.condition import Condition
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.noise.randomness import StepRandomness
from fieldforge.training.modules.stage_module import StageModule


class ConditionalModule(StageModule, ABC):
    """Trains a `DiffusionModel` on normalised latents under the conditions of a `Conditioner`.

    Args:
        model: the trained model.
        conditioner: turns captions, classes, … into the condition.
        optimizer: parameter groups → optimiser.
        seed: see `StageModule`.
    """

    def __init__(self, model: DiffusionModel, conditioner: Conditioner, optimizer: Callable[..., Optimizer], seed: int):
        super().__init__(seed)
        self.model, self.conditioner = model, conditioner
        self.make_optimizer = optimizer

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        return self.conditioner.with_host_features(batch)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = self._loss(batch, self.randomness(len(batch["latent"]), batch_idx))
        self.log_step({"loss": loss})
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        size = len(batch["latent"])
        self.log_heldout({"loss": self._loss(batch, self.heldout_randomness(size, batch_idx))}, size)

    def condition(self, batch: dict[str, Any], randomness: StepRandomness) -> Condition:
        """The batch's condition, with the dropout of the conditioner's sources."""
        size = len(batch["latent"])
        with torch.autocast(self.device.type, enabled=False):  # frozen encoders have a precision of their own
            features = self.conditioner.augmented(self.conditioner.embed(batch), randomness)
        drop = self.conditioner.draw_drop(size, randomness, self.device)  # {source: (B,)}
        return self.conditioner(features, drop, batch_size=size)

    @abstractmethod
    def _loss(self, batch: dict[str, Any], randomness: StepRandomness) -> Tensor:
        """batch: latent (B, T, C) and what the conditioner's sources read → ()."""
