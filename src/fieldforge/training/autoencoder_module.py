"""Stage 1 as Lightning sees it: point clouds in, field parameters out, the loss of the autoencoder's room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.optim import Optimizer

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.training.budget import logs_next
from fieldforge.training.optimization import build_optimizer
from fieldforge.training.randomness import step_generator

AutoencoderLoss = Callable[..., tuple[Tensor, dict[str, Tensor]]]  # (autoencoder, batch, generator) → loss, terms


class AutoencoderModule(pl.LightningModule):
    """Trains an `Autoencoder`.

    Args:
        autoencoder: its parameters are trained.
        loss: (autoencoder, batch, generator) → loss (), detached terms by name.
        optimizer: parameter groups → optimiser.
        seed: with the step and the rank it determines every random number of a step.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        loss: AutoencoderLoss,
        optimizer: Callable[..., Optimizer],
        seed: int,
    ):
        super().__init__()
        self.autoencoder, self.loss = autoencoder, loss
        self.make_optimizer, self.seed = optimizer, seed

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        generator = step_generator(self.seed, self.global_step, self.global_rank, self.device)
        loss, terms = self.loss(self.autoencoder, batch, generator)  # (), {name: ()}
        if logs_next(self.trainer):
            self._log("train", loss, terms, len(batch["surface"]))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        generator = step_generator(self.seed, batch_idx, self.global_rank, self.device, "validation")
        loss, terms = self.loss(self.autoencoder, batch, generator)  # (), {name: ()}
        self._log("heldout", loss, terms, len(batch["surface"]))

    def configure_optimizers(self) -> Optimizer:
        return build_optimizer(self.make_optimizer, self.autoencoder)

    def _log(self, split: str, loss: Tensor, terms: dict[str, Tensor], batch_size: int) -> None:
        named = {f"{split}/{name}": term for name, term in {"loss": loss.detach(), **terms}.items()}
        self.log_dict(named, batch_size=batch_size, sync_dist=split == "heldout")
