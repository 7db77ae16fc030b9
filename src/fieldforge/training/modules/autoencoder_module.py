"""Lightning module of the autoencoder stage: samples → field parameters → loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.training.modules.optimization import build_optimizer
from fieldforge.training.modules.stage_module import StageModule

AutoencoderLoss = Callable[..., tuple[Tensor, dict[str, Tensor]]]  # (autoencoder, batch, randomness) → loss, terms


class AutoencoderModule(StageModule):
    """Trains an `Autoencoder`.

    Args:
        autoencoder: its parameters are trained.
        loss: (autoencoder, batch, randomness) → loss (), detached terms by name. Its parameters are trained too.
        optimizer: parameter groups → optimiser.
        seed: see `StageModule`.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        loss: AutoencoderLoss,
        optimizer: Callable[..., Optimizer],
        seed: int,
    ):
        super().__init__(seed)
        self.autoencoder, self.loss, self.make_optimizer = autoencoder, loss, optimizer

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        randomness = self.randomness(len(batch["input"]), batch_idx)
        loss, terms = self.loss(self.autoencoder, batch, randomness)  # (), {name: ()}
        self.log_step({"loss": loss, **terms})
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        size = len(batch["input"])
        loss, terms = self.loss(self.autoencoder, batch, self.heldout_randomness(size, batch_idx))  # (), {name: ()}
        self.log_heldout({"loss": loss, **terms}, size)

    def configure_optimizers(self) -> Optimizer:
        adversary = self.loss if isinstance(self.loss, nn.Module) else None
        return build_optimizer(self.make_optimizer, self.autoencoder, adversary=adversary)
