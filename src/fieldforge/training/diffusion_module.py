"""Stage 2 as Lightning sees it: noise the latents, denoise them under a condition that some samples lose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.diffusion.loss import Loss
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.weighting import Weighting
from fieldforge.noise.densities import Density, stratified_uniform
from fieldforge.training.budget import logs_next
from fieldforge.training.optimization import build_optimizer
from fieldforge.training.randomness import step_generator


class DiffusionModule(pl.LightningModule):
    """Trains a `DiffusionModel` and its `Conditioner` on normalised latents.

    Args:
        model: backbone, process and parameterization.
        conditioner: turns captions, classes, … into the condition.
        loss: of a batch; `model` is of the kind that it trains.
        density: of the times that training draws.
        weighting: of the x₀ error over the log-SNR.
        optimizer: parameter groups → optimiser.
        seed: with the step and the rank it determines every random number of a step.
    """

    def __init__(
        self,
        model: DiffusionModel,
        conditioner: Conditioner,
        loss: Loss,
        density: Density,
        weighting: Weighting,
        optimizer: Callable[..., Optimizer],
        seed: int,
    ):
        super().__init__()
        self.model, self.conditioner = model, conditioner
        self.loss, self.density, self.weighting = loss, density, weighting
        self.make_optimizer, self.seed = optimizer, seed

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = self._loss(batch, step_generator(self.seed, self.global_step, self.global_rank))
        if logs_next(self.trainer):
            self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        loss = self._loss(batch, step_generator(self.seed, batch_idx, self.global_rank, purpose="validation"))
        self.log("heldout/loss", loss, batch_size=len(batch["latent"]), sync_dist=True)

    def configure_optimizers(self) -> Optimizer:
        return build_optimizer(self.make_optimizer, self.model, self.conditioner)

    def _loss(self, batch: dict[str, Any], generator: torch.Generator) -> Tensor:
        """Ho & Salimans 2022, algorithm 1; batch: latent (B, T, C) and what the conditioner's sources read → ()."""
        x0 = batch["latent"]  # (B, T, C)
        size = len(x0)
        with torch.autocast(self.device.type, enabled=False):  # frozen encoders have a precision of their own
            features = self.conditioner.embed(batch)
        drop = self.conditioner.draw_drop(size, generator, self.device)  # {source: (B,)}
        condition = self.conditioner(features, drop, batch_size=size)
        uniform = stratified_uniform(size, generator, self.global_rank, self.trainer.world_size)  # (B,)
        t = self.density.times(uniform, self.model.process)  # (B,)
        noise = torch.randn(x0.shape, generator=generator).to(x0)  # (B, T, C)
        return self.loss(self.model, x0, noise, t, condition, self.weighting).mean()
