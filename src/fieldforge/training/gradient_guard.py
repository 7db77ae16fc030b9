"""Clipping, and what happens when a step produces numbers that are not numbers."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from fieldforge.errors import UserError
from fieldforge.training.budget import logs_now


class GradientGuard(pl.Callback):
    """Clips the gradient's norm, leaves out steps whose gradient is not finite, and stops when that does not end.

    Neither needs the host to wait for the device: a fused optimiser reads "leave this step out" from a tensor, and the
    count is looked at only now and then.

    Args:
        max_norm: gradients are scaled down to this global norm; None leaves them.
        patience: so many bad steps in a row end the run with one sentence.
    """

    def __init__(self, max_norm: float | None = 1.0, patience: int = 25):
        self.max_norm = math.inf if max_norm is None else float(max_norm)
        self.patience = patience
        self._in_a_row: Tensor | None = None
        self._norm: Tensor | None = None

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)  # ()
        bad = (~torch.isfinite(norm)).float()
        if self.max_norm < math.inf:
            torch._foreach_mul_(gradients, torch.clamp(self.max_norm / (norm + 1e-6), max=1.0))
        if not getattr(optimizer, "_step_supports_amp_scaling", False):
            raise UserError(
                f"optimizer {type(optimizer).__name__} cannot leave out a bad step: set optimizer.fused=true"
            )
        optimizer.found_inf, optimizer.grad_scale = bad, None  # type: ignore[attr-defined]
        self._in_a_row = bad if self._in_a_row is None else (self._in_a_row + 1) * bad
        self._norm = norm

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._in_a_row is None or not logs_now(trainer):
            return
        pl_module.log("train/gradient_norm", self._norm)  # type: ignore[arg-type]
        if self._in_a_row > self.patience:
            raise UserError(
                f"training gave no finite gradient for {int(self._in_a_row)} steps up to step {trainer.global_step}: "
                "lower optimizer.lr or use trainer.precision=32-true, and run the command again"
            )
