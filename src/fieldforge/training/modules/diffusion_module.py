"""Lightning module of the diffusion stage: noise the latents, denoise them under a condition with dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.diffusion.loss import Loss
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.weighting import Weighting
from fieldforge.noise.densities import Density
from fieldforge.noise.randomness import StepRandomness
from fieldforge.training.modules.conditional_module import ConditionalModule
from fieldforge.training.modules.optimization import build_optimizer


class DiffusionModule(ConditionalModule):
    """Trains a `DiffusionModel` and its `Conditioner` on normalised latents.

    Args:
        model: backbone, process and parameterization.
        conditioner: turns captions, classes, … into the condition.
        loss: of a batch; `model` is of the kind that it trains.
        density: of the times that training draws.
        weighting: of the x₀ error over the log-SNR.
        optimizer: parameter groups → optimiser.
        seed: see `StageModule`.
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
        super().__init__(model, conditioner, optimizer, seed)
        self.loss, self.density, self.weighting = loss, density, weighting

    def configure_optimizers(self) -> Optimizer:
        return build_optimizer(self.make_optimizer, self.model, self.conditioner)

    def _loss(self, batch: dict[str, Any], randomness: StepRandomness) -> Tensor:
        """Ho & Salimans 2022, algorithm 1; batch: latent (B, T, C) and what the conditioner's sources read → ()."""
        x0 = batch["latent"]  # (B, T, C)
        condition = self.condition(batch, randomness)
        t = self.density.times(randomness.stratified(), self.model.process, x0.shape[1])  # (B,)
        noise = randomness.normal(*x0.shape[1:]).to(x0)  # (B, T, C)
        return self.loss(self.model, x0, noise, t, condition, self.weighting).mean()
