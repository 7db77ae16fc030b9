"""Readout by local blocks, whose weights all places share: transformer tokens → output of the backbone."""

from collections.abc import Sequence

from torch import Tensor, nn

from fieldforge.errors import UserError
from fieldforge.nn.grouping import Patches
from fieldforge.nn.transformer import FeedForward, Modulation

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}  # by the dimensions of the grid


class GridBlock(nn.Module):
    """Convolution of 3 places per axis, modulated norm, feed-forward, skip connection (ConvNeXt, Liu et al. 2022)."""

    def __init__(self, grid: Sequence[int], width: int, vector_width: int):
        super().__init__()
        self.grid = tuple(grid)
        self.around = CONVOLUTIONS[len(self.grid)](width, width, 3, padding=1)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = Modulation(vector_width, width, count=2)
        self.feed = FeedForward(width)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """x (B, T, width), T places of the grid in row-major order, vector (B, D) → (B, T, width)."""
        shift, scale = self.modulation(vector)  # (B, 1, width) each
        around = self.around(x.transpose(1, 2).unflatten(2, self.grid)).flatten(2).transpose(1, 2)  # (B, T, width)
        return x + self.feed(self.norm(around) * (1 + scale) + shift)


class LocalReadout(nn.Module):
    """Each latent token sums `detail` channels of its patch's token and of its input; local blocks mix neighbours.

    `Readout` computes all numbers of a patch by one linear map, so that a large patch takes up the transformer's whole
    width. Here the transformer gives a coarse description, and local blocks, which share weights over all places,
    compute the numbers. The output starts at zero; the input has a skip connection, as in `Readout`.
    """

    def __init__(self, patches: Patches, channels: int, output_channels: int, width: int, detail: int, layers: int = 2):
        super().__init__()
        if patches.grid is None or len(patches.grid) not in CONVOLUTIONS:
            raise UserError(
                f"backbone.detail={detail}: these latents have no grid of 1 to 3 axes on which tokens look around, "
                f"take backbone.detail=0"
            )
        grid = [count * side for count, side in zip(patches.counts, patches.sides, strict=True)]
        self.patches, self.outputs = patches, output_channels // channels
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = Modulation(width, width, count=2)
        self.to_detail = nn.Linear(width, patches.size * detail)
        self.from_input = nn.Linear(channels, detail)
        self.blocks = nn.ModuleList(GridBlock(grid, detail, width) for _ in range(layers))
        self.final_norm = nn.LayerNorm(detail)
        self.gain = Modulation(width, output_channels, count=1)
        self.project = nn.Linear(detail, output_channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, tokens: Tensor, x: Tensor, vector: Tensor) -> Tensor:
        """tokens (B, T / group, width), the input x (B, T, C), vector (B, width) → (B, T, output_channels)."""
        shift, scale = self.modulation(vector)  # (B, 1, width) each
        detail = self.patches.split(self.to_detail(self.norm(tokens) * (1 + scale) + shift))  # (B, T, detail)
        detail = detail + self.from_input(x)
        for block in self.blocks:
            detail = block(detail, vector)
        (gain,) = self.gain(vector)  # (B, 1, output_channels)
        return self.project(self.final_norm(detail)) + gain * x.repeat(1, 1, self.outputs)
