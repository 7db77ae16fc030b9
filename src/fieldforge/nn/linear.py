"""Linear maps with a particular initialisation."""

from collections.abc import Iterable

import torch
from torch import nn


def pass_through(inputs: int, outputs: int) -> nn.Linear:
    """Linear map initialised as the identity between the last of its channels, and as zero elsewhere.

    A pair of these maps around the latent is a skip connection: from the first step it hands a cell's mean colour and
    normal to the decoder. Without it the network learns colour hundreds of steps after shape. Colour differs between
    assets, and in a fresh network the signals that all assets share (positions, biases) drown it.
    """
    linear = nn.Linear(inputs, outputs)
    shared = min(inputs, outputs)
    with torch.no_grad():
        linear.bias.zero_()
        linear.weight.zero_()
        linear.weight[outputs - shared :, inputs - shared :] = torch.eye(shared)
    return linear


def initialise(modules: Iterable[nn.Module], deviation: float) -> None:
    """Normal weights of that deviation, and biases of zero, of the linear layers among the modules."""
    for layer in modules:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)
