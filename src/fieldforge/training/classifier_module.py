"""The classifier of noisy latents as Lightning sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from fieldforge.diffusion.classifier import LatentClassifier, accuracy_by_noise, classifier_loss
from fieldforge.errors import UserError
from fieldforge.noise.densities import Density, stratified_uniform
from fieldforge.training.budget import logs_next
from fieldforge.training.optimization import build_optimizer
from fieldforge.training.randomness import step_generator

NOISE_LEVELS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # σ/α at which held-out accuracy is told


class ClassifierModule(pl.LightningModule):
    """Trains a `LatentClassifier` on normalised latents.

    Args:
        classifier: its parameters are trained.
        classes: names in the order of its outputs.
        density: of the times that training draws.
        optimizer: parameter groups → optimiser.
        seed: with the step and the rank it determines every random number of a step.
    """

    def __init__(
        self,
        classifier: LatentClassifier,
        classes: Sequence[str],
        density: Density,
        optimizer: Callable[..., Optimizer],
        seed: int,
    ):
        super().__init__()
        self.classifier, self.density = classifier, density
        self.index = {name: number for number, name in enumerate(classes)}
        self.make_optimizer, self.seed = optimizer, seed

    def labels(self, batch: dict[str, Any]) -> Tensor:
        """Numbers (B,) of the batch's classes. UserError for one that the training split does not have."""
        unknown = sorted(set(batch["class"]) - set(self.index))
        if unknown:
            raise UserError(f"class {unknown[0]!r} is not among those of the manifest: prepare the data again")
        return torch.tensor([self.index[name] for name in batch["class"]], device=self.device)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross-entropy of the class of x_t: batch: latent (B, T, C), class [B names] → ()."""
        x0 = batch["latent"]  # (B, T, C)
        generator = step_generator(self.seed, self.global_step, self.global_rank)
        uniform = stratified_uniform(len(x0), generator, self.global_rank, self.trainer.world_size)  # (B,)
        t = self.density.times(uniform, self.classifier.process)  # (B,)
        noise = torch.randn(x0.shape, generator=generator).to(x0)  # (B, T, C)
        loss = classifier_loss(self.classifier, x0, noise, t, self.labels(batch)).mean()
        if logs_next(self.trainer):
            self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        x0 = batch["latent"]  # (B, T, C)
        generator = step_generator(self.seed, batch_idx, self.global_rank, purpose="validation")
        accuracy = accuracy_by_noise(self.classifier, x0, self.labels(batch), NOISE_LEVELS, generator)
        named = {f"heldout/accuracy_at_{level:g}": share for level, share in accuracy.items()}
        named["heldout/accuracy"] = sum(accuracy.values()) / len(accuracy)
        self.log_dict(named, batch_size=len(x0), sync_dist=True)

    def configure_optimizers(self) -> Optimizer:
        return build_optimizer(self.make_optimizer, self.classifier)
