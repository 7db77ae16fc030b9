"""Readout: tokens of a modulated transformer → output of the backbone."""

from torch import Tensor, nn

from fieldforge.nn.grouping import Patches
from fieldforge.nn.transformer import Modulation


class Readout(nn.Module):
    """Modulated norm, zero-initialised linear map (Peebles & Xie 2022, section 3.2), skip connection of the input.

    A patch of latent tokens is one token in the transformer. Where a patch holds more numbers than `width`, their noise
    does not fit through the blocks. So the skip connection adds each number of the input, times a gain that depends on
    noise level and condition: for independent Gaussian numbers this is the optimal denoiser.

    `output_channels` is a multiple of `channels`.
    """

    def __init__(self, patches: Patches, channels: int, output_channels: int, width: int):
        super().__init__()
        self.patches = patches
        self.outputs = output_channels // channels
        numbers = patches.size * output_channels
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = Modulation(width, width, count=2)
        self.gain = Modulation(width, numbers, count=1)
        self.project = nn.Linear(width, numbers)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, tokens: Tensor, x: Tensor, vector: Tensor) -> Tensor:
        """tokens (B, T / group, width), the input x (B, T, C), vector (B, width) → (B, T, output_channels)."""
        shift, scale = self.modulation(vector)  # (B, 1, width) each
        change = self.project(self.norm(tokens) * (1 + scale) + shift)  # (B, T / group, group · output_channels)
        (gain,) = self.gain(vector)  # (B, 1, group · output_channels)
        return self.patches.split(change + gain * self.patches.join(x.repeat(1, 1, self.outputs)))
