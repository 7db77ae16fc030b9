"""The exponential moving average of the weights, updated each step; validation, pictures and the final model use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from fieldforge.nn.ema import EMA, Decay
from fieldforge.training.callbacks.steps import StepCallback
from fieldforge.training.processes import ranks
from fieldforge.training.processes.strategies import placed_like, where_there_is_room, whole_module


class EMACallback(StepCallback):
    """Averages all trained weights; validation, pictures and the finished model use the average.

    State: the average, saved with the checkpoint.

    Args:
        decay: decay of the average at each update.
    """

    def __init__(self, decay: Decay):
        self.decay = decay
        self._ema: EMA | None = None
        self._restored: dict[str, Any] | None = None
        self._aside: dict[str, Tensor] | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ema = EMA(pl_module, self.decay)
        if self._restored is not None:
            self.load_state_dict(self._restored)
            self._restored = None

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._average.update(pl_module, trainer.global_step)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_in(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_out(pl_module)

    @contextmanager
    def averaged(self, pl_module: pl.LightningModule) -> Iterator[pl.LightningModule]:
        """A whole module with the averaged weights: the module itself, or a copy where it is sharded. A collective.

        The weights are restored after the block.
        """
        copied = whole_module(pl_module.trainer.strategy, pl_module, self._average.average)
        if copied is not None:
            yield copied
            return
        self._swap_in(pl_module)
        try:
            yield pl_module
        finally:
            self._swap_out(pl_module)

    @torch.no_grad()
    def show(self, pl_module: pl.LightningModule, look: Callable[[pl.LightningModule], str | None]) -> str:
        """The result of `look` on the module with the averaged weights, in the first process. A collective."""
        was_training = pl_module.training
        pl_module.eval()
        with self.averaged(pl_module) as averaged:
            text = ranks.first_alone(lambda: look(where_there_is_room(averaged, pl_module.device).eval()))
        pl_module.train(was_training)
        return text

    def finished(self, pl_module: pl.LightningModule) -> pl.LightningModule:
        """After training: a whole module with the averaged weights, the module itself unless it is sharded. A
        collective.
        """
        copied = whole_module(pl_module.trainer.strategy, pl_module, self._average.average)
        if copied is None:
            self._average.copy_to(pl_module)
        return copied or pl_module

    def state_dict(self) -> dict[str, Any]:
        return {"average": self._average.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._ema is None:  # the training has not started yet
            self._restored = state_dict
        else:
            self._ema.load_state_dict(placed_like(state_dict["average"], self._ema.average))

    @property
    def _average(self) -> EMA:
        assert self._ema is not None, "the average starts with the training"
        return self._ema

    def _swap_in(self, pl_module: pl.LightningModule) -> None:
        assert self._aside is None, "the averaged weights are in use already"
        self._aside = {name: tensor.detach().clone() for name, tensor in pl_module.state_dict().items()}
        self._average.copy_to(pl_module)

    def _swap_out(self, pl_module: pl.LightningModule) -> None:
        assert self._aside is not None, "the averaged weights are not in use"
        pl_module.load_state_dict(self._aside)
        self._aside = None
