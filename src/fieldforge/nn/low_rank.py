"""Low-rank corrections of linear layers, LoRA (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatch

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fieldforge.errors import UserError

BASE, DOWN, UP = (f".parametrizations.weight.{end}" for end in ("original", "0.down", "0.up"))
"""How torch names the parts of a corrected weight, after the name of its layer."""


class LowRank(nn.Module):
    """W → W + s · B A (eq. 3), with A = `down` (rank, in) and B = `up` (out, rank), which starts at zero."""

    def __init__(self, outputs: int, inputs: int, rank: int, scale: float):
        super().__init__()
        self.scale = scale
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """(out, in) → (out, in), in the weight's own precision: autocast would round small corrections away."""
        with torch.autocast(weight.device.type, enabled=False):
            return torch.addmm(weight, self.up, self.down, alpha=self.scale)


def linear_layers(network: nn.Module, patterns: list[str]) -> dict[str, nn.Linear]:
    """The linear layers of a network whose names match a pattern. UserError for a pattern without a match."""
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in layers):
            raise UserError(
                f"adapter.layers: no linear layer of the backbone is called {pattern}, the first are "
                f"{', '.join(list(layers)[:4])}"
            )
    return {name: layer for name, layer in layers.items() if any(fnmatch(name, pattern) for pattern in patterns)}


def correct(layer: nn.Linear, rank: int, scale: float) -> None:
    """Give a linear layer a trainable low-rank correction; its own weight and bias are frozen."""
    layer.requires_grad_(False)
    correction = LowRank(layer.out_features, layer.in_features, rank, scale).to(layer.weight)
    parametrize.register_parametrization(layer, "weight", correction)


def factors(state: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer → (A (rank, in), B (out, rank)) of all corrections in a state dict."""
    layers = [name.removesuffix(DOWN) for name in state if name.endswith(DOWN)]
    return {layer: (state[layer + DOWN], state[layer + UP]) for layer in layers}


def merged(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """A state dict whose corrections, all of one scale, are added to their weights, under the plain layers' names."""
    corrections = factors(state)
    plain = {name: value for name, value in state.items() if not name.endswith((BASE, DOWN, UP))}
    weights = {f"{layer}.weight": (state[layer + BASE], *pair) for layer, pair in corrections.items()}
    return plain | {name: torch.addmm(base, up, down, alpha=scale) for name, (base, down, up) in weights.items()}
