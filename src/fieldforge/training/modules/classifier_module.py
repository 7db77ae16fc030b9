"""Lightning module of the classifier of noisy latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fieldforge.diffusion.classifier import LatentClassifier, accuracy_by_noise, classifier_loss
from fieldforge.errors import UserError
from fieldforge.noise.densities import Density
from fieldforge.training.modules.optimization import build_optimizer
from fieldforge.training.modules.stage_module import StageModule

NOISE_LEVELS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # σ/α at which held-out accuracy is told


class ClassifierModule(StageModule):
    """Trains a `LatentClassifier` on normalised latents.

    Args:
        classifier: its parameters are trained.
        classes: names in the order of its outputs.
        density: of the times that training draws.
        optimizer: parameter groups → optimiser.
        seed: see `StageModule`.
    """

    def __init__(
        self,
        classifier: LatentClassifier,
        classes: Sequence[str],
        density: Density,
        optimizer: Callable[..., Optimizer],
        seed: int,
    ):
        super().__init__(seed)
        self.classifier, self.density = classifier, density
        self.index = {name: number for number, name in enumerate(classes)}
        self.make_optimizer = optimizer

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        return {**batch, "label": self.labels(batch["class"])}

    def labels(self, names: Sequence[str]) -> Tensor:
        """Class indices (B,), on the CPU. UserError for a class that the training split does not have."""
        unknown = sorted(set(names) - set(self.index))
        if unknown:
            raise UserError(f"class {unknown[0]!r} is not among those of the manifest: prepare the data again")
        return torch.tensor([self.index[name] for name in names])

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross-entropy of the class of x_t: latent (B, T, C), label (B,) → ()."""
        x0 = batch["latent"]  # (B, T, C)
        randomness = self.randomness(len(x0), batch_idx)
        t = self.density.times(randomness.stratified(), self.classifier.process, x0.shape[1])  # (B,)
        noise = randomness.normal(*x0.shape[1:]).to(x0)  # (B, T, C)
        loss = classifier_loss(self.classifier, x0, noise, t, batch["label"]).mean()
        self.log_step({"loss": loss})
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        x0 = batch["latent"]  # (B, T, C)
        randomness = self.heldout_randomness(len(x0), batch_idx)
        accuracy = accuracy_by_noise(self.classifier, x0, batch["label"], NOISE_LEVELS, randomness)
        named = {f"accuracy_at_{level:g}": share for level, share in accuracy.items()}
        self.log_heldout({**named, "accuracy": sum(accuracy.values()) / len(accuracy)}, len(x0))

    def configure_optimizers(self) -> Optimizer:
        return build_optimizer(self.make_optimizer, self.classifier)
