"""The moving average of the weights as a part of training: updated each step, used wherever the model is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from fieldforge.errors import UserError


class EMACallback(pl.Callback):
    """Averages all trainable parameters with a decay that rises to `decay`: min(decay, (1 + n) / (10 + n)) at update n.

    The average is used for validation, for pictures and for the finished model. State: the averages and their number of
    updates, saved with the checkpoint.
    """

    def __init__(self, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise UserError(f"ema.decay = {decay}: give a number of at least 0 and below 1")
        self.decay = decay
        self._updates = 0
        self._average: dict[str, Tensor] = {}
        self._aside: list[Tensor] | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._average:
            self._average = {name: p.detach().clone() for name, p in trained(pl_module)}
        else:
            self._average = {name: self._average[name].to(p.device) for name, p in trained(pl_module)}

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(list(self._average.values()), [p for _, p in trained(pl_module)], 1 - decay)
        self._updates += 1

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_in(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_out(pl_module)

    @contextmanager
    def averaged(self, pl_module: pl.LightningModule) -> Iterator[None]:
        """Inside, the module has the averaged weights."""
        self._swap_in(pl_module)
        try:
            yield
        finally:
            self._swap_out(pl_module)

    def keep_averaged(self, pl_module: pl.LightningModule) -> None:
        """After training: leave the averaged weights in the module."""
        self._swap_in(pl_module)
        self._aside = None

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self._updates, "average": dict(self._average)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._updates, self._average = int(state_dict["updates"]), dict(state_dict["average"])

    @torch.no_grad()
    def _swap_in(self, pl_module: pl.LightningModule) -> None:
        assert self._aside is None, "the averaged weights are in use already"
        parameters = [p for _, p in trained(pl_module)]
        self._aside = [p.detach().clone() for p in parameters]
        torch._foreach_copy_(parameters, list(self._average.values()))

    @torch.no_grad()
    def _swap_out(self, pl_module: pl.LightningModule) -> None:
        assert self._aside is not None, "the averaged weights are not in use"
        parameters = [p for _, p in trained(pl_module)]
        torch._foreach_copy_(parameters, self._aside)
        self._aside = None


def trained(module: torch.nn.Module) -> list[tuple[str, Tensor]]:
    """Names and parameters that have gradients, in a fixed order."""
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]
