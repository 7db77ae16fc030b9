"""The cost of a training step, and the memory that it takes where several devices share the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StepCost:
    """One process' share of a training step; sizes in bytes.

    parts: number of parameters by part of the model. trained: number of trained parameters. kernels: table of the
    kernels of a step (`planning.kernels`): forward, backward, optimiser, average. backward: the rows of the backward
    pass. heldout: kernels of a held-out batch in a validation. swap: of putting the averaged weights in place of the
    trained ones, and back. parameters, gradients, optimizer, average: held through the whole training. activations:
    additional peak memory of a step. checkpointed: the same with activation checkpointing. validation: additional peak
    memory of a validation, with a saved copy of the training weights. block: parameters of the largest transformer
    block, and `blocks` their number. outside_blocks: parameters outside of transformer blocks. tensors: of a
    checkpoint.
    """

    parts: Mapping[str, int]
    trained: int
    kernels: np.ndarray
    backward: slice
    heldout: np.ndarray
    swap: np.ndarray
    parameters: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    checkpointed: int
    validation: int
    block: int
    blocks: int
    outside_blocks: int
    tensors: int

    @property
    def operations(self) -> int:
        """Floating-point operations of matrix products, convolutions and attention, forward and backward."""
        return int(self.kernels[:, 0].sum())

    @property
    def held(self) -> int:
        """Permanent bytes of every process without sharding."""
        return self.parameters + self.gradients + self.optimizer + self.average

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint's tensors."""
        return self.parameters + self.optimizer + self.average


def memory_ddp(cost: StepCost, world: int) -> dict[str, int]:
    """Bytes on each device with DDP: each holds the whole model; several devices exchange gradients through buckets.

    `validation` is the additional memory of a validation beyond the activations of a step.
    """
    return {
        "parameters": cost.parameters,
        "gradients": cost.gradients,
        "exchange": cost.gradients if world > 1 else 0,
        "optimiser": cost.optimizer,
        "moving average": cost.average,
        "activations": cost.activations,
        "validation": max(0, cost.validation - cost.activations),
    }


def memory_fsdp(cost: StepCost, world: int) -> dict[str, int]:
    """Bytes on each device with FSDP: parameters, gradients, optimiser and average are sharded over all devices.

    Gathered at a time are the parameters outside of transformer blocks, and two blocks (the current and the next one),
    once as weights and once as gradients. During validation the saved training weights are sharded as well.
    """
    share = lambda size: -(-size // world)  # noqa: E731
    gathered = 2 * (cost.outside_blocks + 2 * cost.block)
    aside = cost.validation - cost.parameters + share(cost.parameters)
    return {
        "parameters": share(cost.parameters),
        "gradients": share(cost.gradients),
        "exchange": gathered,
        "optimiser": share(cost.optimizer),
        "moving average": share(cost.average),
        "activations": cost.activations,
        "validation": max(0, aside - cost.activations),
    }
