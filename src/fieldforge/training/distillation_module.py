"""Distillation as Lightning sees it: a student learns to take several of its teacher's steps at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.diffusion.denoiser import Guidance
from fieldforge.diffusion.distillation import distillation_loss
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.weighting import Weighting
from fieldforge.noise.densities import stratified_uniform
from fieldforge.training.budget import logs_next
from fieldforge.training.optimization import build_optimizer
from fieldforge.training.randomness import step_generator


class DistillationModule(pl.LightningModule):
    """Trains `model`, which starts as a copy of its teacher.

    Args:
        model: the student.
        conditioner: the teacher's, for both; it stays as it is.
        teacher: what the student is to do faster; not part of the state that is saved.
        guidance: of the teacher; the student learns it in.
        intervals: (N, substeps + 1) falling times: the teacher's steps within each of the student's.
        weighting: of the error of the estimate over the log-SNR.
        optimizer: parameter groups → optimiser.
        seed: with the step and the rank it determines every random number of a step.
    """

    def __init__(
        self,
        model: DiffusionModel,
        conditioner: Conditioner,
        teacher: DiffusionModel,
        guidance: Guidance,
        intervals: Tensor,
        weighting: Weighting,
        optimizer: Callable[..., Optimizer],
        seed: int,
    ):
        super().__init__()
        self.model, self.conditioner = model, conditioner.requires_grad_(False)
        self._beside = (teacher.eval().requires_grad_(False),)  # in a tuple: no part of this module
        self.guidance, self.intervals, self.weighting = guidance, intervals, weighting
        self.make_optimizer, self.seed = optimizer, seed

    @property
    def teacher(self) -> DiffusionModel:
        return self._beside[0]

    def on_fit_start(self) -> None:
        self.teacher.to(self.device)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = self._loss(batch, step_generator(self.seed, self.global_step, self.global_rank))
        if logs_next(self.trainer):
            self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        loss = self._loss(batch, step_generator(self.seed, batch_idx, self.global_rank, purpose="validation"))
        self.log("heldout/loss", loss, batch_size=len(batch["latent"]), sync_dist=True)

    def configure_optimizers(self) -> Optimizer:
        return build_optimizer(self.make_optimizer, self.model)

    def _loss(self, batch: dict[str, Any], generator: torch.Generator) -> Tensor:
        """Salimans & Ho 2022, algorithm 2; batch: latent (B, T, C) and what the conditioner's sources read → ()."""
        x0 = batch["latent"]  # (B, T, C)
        size = len(x0)
        with torch.autocast(self.device.type, enabled=False):  # frozen encoders have a precision of their own
            features = self.conditioner.embed(batch)
        drop = self.conditioner.draw_drop(size, generator, self.device)  # {source: (B,)}
        condition = self.conditioner(features, drop, batch_size=size)
        teacher = self.teacher.guided(self.guidance, condition, self.conditioner.null(size))
        uniform = stratified_uniform(size, generator, self.global_rank, self.trainer.world_size)  # (B,)
        times = self.intervals[(uniform * len(self.intervals)).long()]  # (B, substeps + 1)
        noise = torch.randn(x0.shape, generator=generator).to(x0)  # (B, T, C)
        return distillation_loss(self.model, teacher, x0, noise, times, condition, self.weighting).mean()
