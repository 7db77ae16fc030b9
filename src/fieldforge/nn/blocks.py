"""A stack of equal blocks: the interface of every transformer to training and planning."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    """The unit that is compiled, sharded between processes, and recomputed in the backward pass."""


class Stack(nn.Module):
    """A sequence of blocks. `checkpointing` recomputes each block's activations in the backward pass."""

    blocks: nn.ModuleList

    def __init__(self, checkpointing: bool = False):
        super().__init__()
        self.checkpointing = checkpointing

    def call(self, block: nn.Module, *args: Any) -> Any:
        """The block's answer."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *args, use_reentrant=False)
        return block(*args)
