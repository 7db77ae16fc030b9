"""The cost of a step of a Lightning module, measured on fake tensors, which have shapes and no values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from fieldforge.nn.blocks import Block, Stack
from fieldforge.nn.ema import EMA, Decay
from fieldforge.nn.true_places import fullest_batches
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.fused_attention import as_on_gpu
from fieldforge.planning.kernels import Kernels
from fieldforge.planning.live_memory import LiveMemory
from fieldforge.planning.step_cost import StepCost

Batch = dict[str, Any]
# All that training steps ask of a trainer.
_NOBODY = SimpleNamespace(
    global_step=0, global_rank=0, local_rank=0, world_size=1, accumulate_grad_batches=1, log_every_n_steps=1 << 60
)


def measure_step(
    make_module: Callable[[], pl.LightningModule],
    make_batch: Callable[[], Batch],
    make_heldout_batch: Callable[[], Batch],
    decay: Decay,
    *,
    bfloat16: bool,
    gpu: bool,
    checkpointing: bool = False,
) -> StepCost:
    """Cost of a step of the module. Nothing is allocated, nothing is started.

    Args:
        make_module, make_batch, make_heldout_batch: called where all tensors are fake; batches of one process (B, …).
        decay: of the average of the weights.
        bfloat16, gpu, checkpointing: mixed precision; a GPU's fused attention; activation checkpointing everywhere.
    """
    with _fake_tensors(gpu) as memory:
        module = unattended(make_module())
        if checkpointing:
            recompute(module)
        parameters = memory.live
        average = EMA(module, decay)
        average_bytes = memory.live - parameters
        training = _Training(module, average, _optimizer(module), bfloat16)
        kernels, backward = _kernels(training, make_batch)
        heldout, swap = _kernels_of_validation(training, make_heldout_batch)
        held = {"parameters": parameters, "average": average_bytes, **training.held}
        return StepCost(
            parts=parts_of(module),
            trained=sum(parameter.numel() for parameter in training.parameters),
            kernels=kernels,
            backward=backward,
            heldout=heldout,
            swap=swap,
            tensors=training.tensors,
            **held,
            **_block_sizes(module),
            **_peaks(memory, training, make_batch, make_heldout_batch, sum(held.values())),
        )


def _kernels(training: _Training, make_batch: Callable[[], Batch]) -> tuple[np.ndarray, slice]:
    """`kernels` and `backward` of a `StepCost`, from the second step: the first one creates the optimiser's state."""
    training.step(make_batch())
    marks: list[int] = []
    with Kernels() as kernels:
        training.step(make_batch(), lambda: marks.append(len(kernels)))
    return kernels.rows, slice(*marks)


@torch.no_grad()
def _kernels_of_validation(
    training: _Training, make_heldout_batch: Callable[[], Batch]
) -> tuple[np.ndarray, np.ndarray]:
    """`heldout` and `swap` of a `StepCost`."""
    module = training.module
    with Kernels() as swap:
        aside = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        training.average.copy_to(module)
        module.load_state_dict(aside)
    with Kernels() as heldout, torch.autocast("cpu", torch.bfloat16, enabled=training.bfloat16):
        module.eval().validation_step(module.on_before_batch_transfer(make_heldout_batch(), 0), 0)
    module.train()
    return heldout.rows, swap.rows


def _peaks(
    memory: LiveMemory,
    training: _Training,
    make_batch: Callable[[], Batch],
    make_heldout_batch: Callable[[], Batch],
    baseline: int,
) -> dict[str, int]:
    """`activations`, `validation` and `checkpointed` of a `StepCost`. It leaves activation checkpointing on."""

    def additional(make: Callable[[], Batch], work: Callable[[Batch], None]) -> int:
        samples = len(next(value for value in make().values() if torch.is_tensor(value)))
        with fullest_batches(samples):
            return _peak(memory, lambda: work(make())) - baseline

    module = training.module
    activations = additional(make_batch, training.step)
    validation = additional(make_heldout_batch, lambda batch: validate(module, batch, training.bfloat16))
    recompute(module.train())
    checkpointed = additional(make_batch, training.step)
    return {"activations": activations, "validation": validation, "checkpointed": checkpointed}


def _block_sizes(module: nn.Module) -> dict[str, int]:
    """`block`, `blocks` and `outside_blocks` of a `StepCost`."""
    blocks = [count(part) for part in module.modules() if isinstance(part, Block)]
    outside = 4 * (count(module) - sum(blocks))
    return {"block": 4 * max(blocks, default=0), "blocks": len(blocks), "outside_blocks": outside}


@contextmanager
def _fake_tensors(gpu: bool) -> Iterator[LiveMemory]:
    """Inside this context tensors have no values, and their memory is counted."""
    with without_values(), LiveMemory() as memory, as_on_gpu() if gpu else nullcontext():
        yield memory


@dataclass(frozen=True)
class _Training:
    """The state of a training: module, optimiser and average."""

    module: pl.LightningModule
    average: EMA
    optimizer: torch.optim.Optimizer
    bfloat16: bool

    def step(self, batch: Batch, note: Callable[[], None] = lambda: None) -> None:
        """A training step in Lightning's order: old gradients live through the forward pass.

        `note` is called before and after the backward pass.
        """
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            loss = self.module.training_step(self.module.on_before_batch_transfer(batch, 0), 0)
        assert isinstance(loss, torch.Tensor)
        self.optimizer.zero_grad()
        note()
        loss.backward()
        note()
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        torch._foreach_mul_(gradients, torch.clamp(1 / norm, max=1.0))  # as `callbacks.gradient_guard` clips them
        self.optimizer.step()
        self.average.update(self.module, 1)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    @property
    def held(self) -> dict[str, int]:
        """Bytes of the gradients, and of the optimiser's state."""
        gradients = (parameter.grad for parameter in self.parameters if parameter.grad is not None)
        return {"gradients": sum(map(_bytes, gradients)), "optimizer": sum(map(_bytes, self._buffers))}

    @property
    def tensors(self) -> int:
        """Number of those in a checkpoint."""
        return len(self._buffers) + len(self.module.state_dict()) + len(self.average.state_dict())

    @property
    def _buffers(self) -> list[torch.Tensor]:
        """Of the optimiser."""
        values = (value for state in self.optimizer.state.values() for value in state.values())
        return [value for value in values if torch.is_tensor(value)]


def _optimizer(module: pl.LightningModule) -> torch.optim.Optimizer:
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def _peak(memory: LiveMemory, work: Callable[[], None]) -> int:
    """Peak bytes of a piece of work."""
    memory.restart_peak()
    work()
    return memory.peak


def unattended(module: pl.LightningModule) -> pl.LightningModule:
    """The module with a placeholder trainer, and without logging."""
    module.trainer = _NOBODY  # type: ignore[assignment]
    for name in ("log", "log_dict"):
        setattr(module, name, _say_nothing)
    return module


def try_step(module: pl.LightningModule, batch: Batch) -> None:
    """The forward pass of a training step on fake tensors; it raises the module's own errors."""
    unattended(module).training_step(module.on_before_batch_transfer(batch, 0), 0)


def recompute(module: nn.Module) -> None:
    """Turn on activation checkpointing in all transformers."""
    for part in module.modules():
        if isinstance(part, Stack):
            part.checkpointing = True


@torch.no_grad()
def validate(module: pl.LightningModule, batch: Batch, bfloat16: bool) -> None:
    """A validation with the averaged weights and a saved copy of the training weights."""
    aside = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        module.eval().validation_step(module.on_before_batch_transfer(batch, 0), 0)
    module.load_state_dict(aside)


def parts_of(module: nn.Module) -> dict[str, int]:
    """Number of parameters by part of a model, two levels deep where there are several."""
    numbers: dict[str, int] = {}
    for name, child in module.named_children():
        inner = {f"{name}.{inner}": count(grandchild) for inner, grandchild in child.named_children()}
        inner_parts = {key: number for key, number in inner.items() if number}
        own = count(child) - sum(inner_parts.values())
        numbers |= inner_parts
        if own:
            numbers[name if not inner_parts else f"{name} (own)"] = own
    return numbers


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _say_nothing(*args: Any, **kwargs: Any) -> None:
    return None
