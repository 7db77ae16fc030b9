"""Lightning module of the diffusion stage: noise the latents, denoise them under a condition with dropout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

BACKBONE, CONDITIONER = "model.backbone.", "conditioner."
"""What the names of their weights begin with in the file of a model."""


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

    def initial_weights(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The weights to start from, where those of another denoiser are given.

        Sources of the condition that the other one lacks change nothing at first where they give a vector alone. A
        backbone with a method `initial_weights` defines how it takes those of another kind. Beside it, the other new
        sources keep their present weights, and sources that only the other denoiser has are left out.
        """
        weights = {**weights, **self._of_new_vectors(weights)}
        take = getattr(self.model.backbone, "initial_weights", None)
        if take is None:
            return weights
        theirs = {name.removeprefix(BACKBONE): value for name, value in weights.items() if name.startswith(BACKBONE)}
        own = {name: value for name, value in self.state_dict().items() if name.startswith(CONDITIONER)}
        same = {name: weights.get(name, value) for name, value in own.items()}
        return same | {f"{BACKBONE}{name}": value for name, value in take(theirs).items()}

    def _of_new_vectors(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Silent weights of the sources that `weights` are not of, as far as they give a vector alone."""
        silent: dict[str, Tensor] = {}
        for name, source in self.conditioner.sources.items():
            prefix = f"{CONDITIONER}sources.{name}."
            if source.gives_a_vector_alone and not any(key.startswith(prefix) for key in weights):
                silent |= {f"{prefix}{key}": value for key, value in source.silent_weights().items()}
        return silent

    def configure_optimizers(self) -> Optimizer:
        return build_optimizer(self.make_optimizer, self.model, self.conditioner)

    def _loss(self, batch: dict[str, Any], randomness: StepRandomness) -> Tensor:
        """Ho & Salimans 2022, algorithm 1; batch: latent (B, T, C) and what the conditioner's sources read → ()."""
        x0 = batch["latent"]  # (B, T, C)
        condition = self.condition(batch, randomness)
        t = self.density.times(randomness.stratified(), self.model.process, x0.shape[1])  # (B,)
        noise = randomness.normal(*x0.shape[1:]).to(x0)  # (B, T, C)
        return self.loss(self.model, x0, noise, t, condition, self.weighting).mean()
