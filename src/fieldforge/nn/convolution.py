"""Small 2-D convolutional layers for feature maps, in channels-last memory."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel: (B, W, H, W') in, same out.

    Channels lie next to each other in channels-last memory, where this is several times as fast as GroupNorm on a CPU.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        normed = F.layer_norm(x.permute(0, 2, 3, 1), self.gain.shape, self.gain.to(x.dtype), self.bias.to(x.dtype))
        return normed.permute(0, 3, 1, 2)


class PixelLinear(nn.Conv2d):
    """A 1 × 1 convolution, computed as a linear map of each pixel: (B, in, H, W) → (B, out, H, W).

    In channels-last memory pixels are rows. A convolution's weight gradient has other strides than the weight:
    DistributedDataParallel would copy it once more, with a warning.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class NormedConvolution(nn.Sequential):
    """ChannelNorm, SiLU, 3 × 3 convolution: (B, in, H, W) → (B, out, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__(ChannelNorm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, stride, 1))


class ResidualConvolution(nn.Module):
    """x + NormedConvolution(x): (B, channels, H, W) → the same (He et al. 2016, pre-activation)."""

    def __init__(self, channels: int):
        super().__init__()
        self.change = NormedConvolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)


class ConvolutionDown(nn.Sequential):
    """`levels` halvings, channels doubling from `channels` on, at last `outputs`: (B, in, R, R) → (B, out, r, r)."""

    def __init__(self, inputs: int, channels: int, outputs: int, levels: int):
        parts: list[nn.Module] = [nn.Conv2d(inputs, channels, 3, 1, 1)]
        for level in range(levels):
            here, below = channels * 2**level, channels * 2 ** (level + 1)
            parts += [ResidualConvolution(here), NormedConvolution(here, below if level < levels - 1 else outputs, 2)]
        super().__init__(*parts)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class ConvolutionUp(nn.Sequential):
    """The mirror: `levels` doublings (nearest), channels halving down to `channels`: (B, in, r, r) → (B, out, R, R)."""

    def __init__(self, inputs: int, channels: int, outputs: int, levels: int):
        parts: list[nn.Module] = [nn.Conv2d(inputs, channels * 2 ** max(levels - 1, 0), 3, 1, 1)]
        for level in reversed(range(levels)):
            here, above = channels * 2**level, channels * 2 ** max(level - 1, 0)
            parts += [nn.Upsample(scale_factor=2), ResidualConvolution(here), NormedConvolution(here, above)]
        super().__init__(*parts, NormedConvolution(channels, outputs))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
