"""Parameter groups of an optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer


def build_optimizer(
    factory: Callable[..., Optimizer], *modules: nn.Module, adversary: nn.Module | None = None
) -> Optimizer:
    """Call `factory(parameter groups)` with weight decay switched off for gains, biases and embeddings of one row.

    Args:
        factory: an optimiser class with its settings filled in (`functools.partial`).
        modules: their trainable parameters are optimised; shared ones once.
        adversary: trained with the opposite objective: its groups are marked `adversary`, and `GradientGuard` clips
            them by their own norm.

    Each group keeps its peak learning rate as `initial_lr`, which the schedule multiplies.
    """
    groups = _groups(modules)
    if adversary is not None:
        groups += [{**group, "adversary": True} for group in _groups((adversary,))]
    optimizer = factory(groups)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def _groups(modules: Sequence[nn.Module]) -> list[dict[str, Any]]:
    parameters = list({id(p): p for module in modules for p in module.parameters() if p.requires_grad}.values())
    matrices = [p for p in parameters if p.ndim >= 2]
    vectors = [p for p in parameters if p.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": matrices}] if matrices else []
    if vectors:
        groups.append({"params": vectors, "weight_decay": 0.0})
    return groups
