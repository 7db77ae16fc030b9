"""What every transformer is to training and planning: a stack of equal blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    """Compiled, sharded between processes and recomputed as one."""


class Stack(nn.Module):
    """Blocks one after the other. `checkpointing` recomputes each one's activations in the backward pass."""

    blocks: nn.ModuleList

    def __init__(self, checkpointing: bool = False):
        super().__init__()
        self.checkpointing = checkpointing

    def call(self, block: nn.Module, *args: Any) -> Any:
        """The block's answer."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *args, use_reentrant=False)
        return block(*args)
