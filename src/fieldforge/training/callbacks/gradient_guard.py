"""Gradient clipping, and skipping of harmful steps."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from fieldforge.errors import UserError
from fieldforge.ranges import Count, Positive
from fieldforge.terminal import quantity
from fieldforge.training.callbacks.steps import StepCallback, logs_now

SETTLING = 100  # good steps until the running root mean square of the loss says what is usual
MEMORY = 0.998  # of its square, per step
LEAST = 1e-6  # no loss below spike times this is out of line


class GradientGuard(StepCallback):
    """Clips the gradient norm, and skips steps with a gradient that is not finite or a loss spike.

    The host never waits for the device: a fused optimiser reads the flag to skip a step from a tensor, and the counts
    are read only at intervals. All processes see the same norm and loss, so they decide alike.

    The reference level is the root mean square of the loss over some five hundred steps, where a spike counts as the
    limit. So the limit rises where losses scatter: at a batch of one a denoiser's noisiest samples have many times the
    mean loss. In the long run at most about one step in spike² is skipped for its loss. A tenfold level of the loss
    becomes the reference after a few steps; a hundredfold level does not within `Recovery`'s patience.

    State: this root mean square and the counts, saved with the checkpoint.

    Args:
        max_norm: gradients are clipped to this norm over all parameters and processes, those of an adversary
            separately; None: no clipping.
        patience: this many bad steps in a row end the run with one sentence, unless `Recovery` handles them.
    """

    def __init__(self, max_norm: Positive | None = 1.0, patience: Count = 25):
        self.max_norm = math.inf if max_norm is None else float(max_norm)
        self.patience = patience
        self.spike = math.inf  # a loss of so many times the usual one is out of line; `Recovery` sets it
        self.ends_run = True
        self._counts: Tensor | None = None  # bad steps in a row, bad steps, good steps, usual loss
        self._restored: list[float] | None = None
        self._losses: list[Tensor] = []
        self._norm: Tensor | None = None

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self._losses.append(loss.detach().float())  # of one of the batches of a step, over their number

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if not getattr(optimizer, "_step_supports_amp_scaling", False):
            raise UserError(
                f"optimizer {type(optimizer).__name__} cannot leave out a bad step: set optimizer.fused=true"
            )
        norms = torch.stack([self._clip(gradients) for gradients in _sets(optimizer)])  # (sets,)
        loss = trainer.strategy.reduce(torch.stack(self._losses).sum(), reduce_op="mean")  # ()
        self._losses = []
        bad = self._judge(norms.sum(), loss)
        optimizer.found_inf, optimizer.grad_scale = bad, None  # type: ignore[attr-defined]
        self._norm = norms[0]  # an adversary's is of no interest

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._counts is None or not logs_now(trainer):
            return
        pl_module.log("train/gradient_norm", self._norm)  # type: ignore[arg-type]
        pl_module.log("train/skipped_steps", self._counts[1])
        if self.ends_run and self._counts[0] > self.patience:
            steps = quantity(int(self._counts[0]), "step")
            raise UserError(
                f"training gave no finite gradient for {steps} up to step {trainer.global_step}: "
                "lower optimizer.lr or use trainer.precision=32-true, and run the command again"
            )

    def skipped(self) -> int:
        """Number of skipped steps; waits for the device."""
        return 0 if self._counts is None else int(self._counts[1])

    def state_dict(self) -> dict[str, Any]:
        return {} if self._counts is None else {"counts": self._counts.tolist()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict.get("counts")

    def _clip(self, gradients: list[Tensor]) -> Tensor:
        """Scales gradients down to `max_norm`; returns the norm () that they had."""
        norm = _norm(gradients)
        if self.max_norm < math.inf:
            own = [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in gradients]
            torch._foreach_mul_(own, torch.clamp(self.max_norm / (norm + 1e-6), max=1.0))
        return norm

    def _judge(self, norm: Tensor, loss: Tensor) -> Tensor:
        """1 for a step to skip, else 0, on the device: norm (), loss () → ()."""
        if self._counts is None:
            self._counts = torch.tensor(self._restored or [0.0] * 4, device=norm.device)
        in_a_row, bad_steps, good_steps, usual = self._counts.unbind()
        limit = torch.where(good_steps >= SETTLING, self.spike * usual.clamp(min=LEAST), math.inf)
        finite = torch.isfinite(norm) & torch.isfinite(loss)
        bad = (~finite | (loss > limit)).float()
        keep = torch.clamp(1 - 1 / (good_steps + 1), max=MEMORY)
        taken_in = torch.hypot(keep.sqrt() * usual, (1 - keep).sqrt() * torch.minimum(loss, limit))
        usual = torch.where(finite, taken_in, usual)
        self._counts = torch.stack([(in_a_row + 1) * bad, bad_steps + bad, good_steps + 1 - bad, usual])
        return bad


def _sets(optimizer: Optimizer) -> list[list[Tensor]]:
    """Gradients of the model, and of the adversary if there is one."""
    sets: dict[bool, list[Tensor]] = {False: []}
    for group in optimizer.param_groups:
        own = sets.setdefault(group.get("adversary", False), [])
        own += [parameter.grad for parameter in group["params"] if parameter.grad is not None]
    return [gradients for gradients in sets.values() if gradients]


def _norm(gradients: list[Tensor]) -> Tensor:
    """Norm () of all gradients, including other processes' shards."""
    spread = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    whole = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    if not spread:
        return torch.nn.utils.get_total_norm(whole)
    norm = torch.nn.utils.get_total_norm(spread)
    assert isinstance(norm, DTensor)
    parts = [norm.full_tensor(), *(gradient.norm() for gradient in whole)]
    return torch.linalg.vector_norm(torch.stack(parts))
