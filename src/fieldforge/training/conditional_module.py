"""What training a denoiser and distilling one share: steps whose loss is of latents under a condition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from fieldforge.conditioning.condition import Condition
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.training.budget import logs_next
from fieldforge.training.randomness import step_generator


class ConditionalModule(pl.LightningModule, ABC):
    """Trains a `DiffusionModel` on normalised latents under the conditions of a `Conditioner`.

    Args:
        model: what is trained.
        conditioner: turns captions, classes, … into the condition.
        optimizer: parameter groups → optimiser.
        seed: with the step and the rank it determines every random number of a step.
    """

    def __init__(self, model: DiffusionModel, conditioner: Conditioner, optimizer: Callable[..., Optimizer], seed: int):
        super().__init__()
        self.model, self.conditioner = model, conditioner
        self.make_optimizer, self.seed = optimizer, seed

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = self._loss(batch, step_generator(self.seed, self.global_step, self.global_rank))
        if logs_next(self.trainer):
            self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        loss = self._loss(batch, step_generator(self.seed, batch_idx, self.global_rank, purpose="validation"))
        self.log("heldout/loss", loss, batch_size=len(batch["latent"]), sync_dist=True)

    def condition(self, batch: dict[str, Any], generator: torch.Generator) -> Condition:
        """The batch's condition, dropped for some samples as the conditioner's sources say."""
        size = len(batch["latent"])
        with torch.autocast(self.device.type, enabled=False):  # frozen encoders have a precision of their own
            features = self.conditioner.embed(batch)
        drop = self.conditioner.draw_drop(size, generator, self.device)  # {source: (B,)}
        return self.conditioner(features, drop, batch_size=size)

    @abstractmethod
    def _loss(self, batch: dict[str, Any], generator: torch.Generator) -> Tensor:
        """batch: latent (B, T, C) and what the conditioner's sources read → ()."""
