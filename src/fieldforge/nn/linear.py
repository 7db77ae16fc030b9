"""Linear maps with a particular start."""

import torch
from torch import nn


def pass_through(inputs: int, outputs: int) -> nn.Linear:
    """Linear map that starts as the identity between the last of its channels, and as zero elsewhere.

    A pair of these, around the latent, hands the mean colour and normal of a cell to its decoder from the first step
    on. Without them colour starts hundreds of steps after shape: it differs between assets, and what is equal in all of
    them (positions, biases) drowns it in a fresh network.
    """
    linear = nn.Linear(inputs, outputs)
    shared = min(inputs, outputs)
    with torch.no_grad():
        linear.bias.zero_()
        linear.weight.zero_()
        linear.weight[outputs - shared :, inputs - shared :] = torch.eye(shared)
    return linear
