"""Lightning module of distillation: a student learns to take several of its teacher's steps at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.diffusion.denoiser import Guidance
from fieldforge.diffusion.distillation import distillation_loss
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.weighting import Weighting
from fieldforge.noise.randomness import StepRandomness
from fieldforge.training.modules.conditional_module import ConditionalModule
from fieldforge.training.modules.optimization import build_optimizer


class DistillationModule(ConditionalModule):
    """Trains `model`, which starts as a copy of its teacher.

    Args:
        model: the student.
        conditioner: the teacher's conditioner, frozen, for both.
        teacher: the model to distil; not part of the saved state.
        guidance: the teacher's guidance, which the student learns.
        intervals: (N, substeps + 1) descending times: the teacher's steps within each of the student's steps.
        weighting: of the error of the estimate over the log-SNR.
        optimizer: parameter groups → optimiser.
        seed: see `StageModule`.
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
        super().__init__(model, conditioner.requires_grad_(False), optimizer, seed)
        self._beside = (teacher.eval().requires_grad_(False),)  # in a tuple: no part of this module
        self.guidance, self.intervals, self.weighting = guidance, intervals, weighting

    @property
    def teacher(self) -> DiffusionModel:
        return self._beside[0]

    def on_fit_start(self) -> None:
        self.teacher.to(self.device)

    def configure_optimizers(self) -> Optimizer:
        return build_optimizer(self.make_optimizer, self.model)

    def _loss(self, batch: dict[str, Any], randomness: StepRandomness) -> Tensor:
        """Salimans & Ho 2022, algorithm 2; batch: latent (B, T, C) and what the conditioner's sources read → ()."""
        x0 = batch["latent"]  # (B, T, C)
        condition = self.condition(batch, randomness)
        teacher = self.teacher.guided(self.guidance, condition, self.conditioner.null(len(x0)))
        chosen = (randomness.stratified() * len(self.intervals)).long()  # (B,)
        self.intervals = self.intervals.to(chosen.device)  # once; a buffer would take float64 to MPS, too
        times = self.intervals[chosen]  # (B, substeps + 1)
        noise = randomness.normal(*x0.shape[1:]).to(x0)  # (B, T, C)
        return distillation_loss(self.model, teacher, x0, noise, times, condition, self.weighting).mean()
