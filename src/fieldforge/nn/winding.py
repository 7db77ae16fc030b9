"""Generalised winding numbers on a grid: they tell inside from outside, also where the surface has holes."""

import math

import torch
from torch import Tensor, nn


class WindingNumber(nn.Module):
    """w(q) = Σ_p D(p) · (p - q) / (4π |p - q|³): 1 inside of a closed surface, 0 outside, between 0 and 1 at its holes.

    The generalised winding number of a cloud of dipoles (Barill et al. 2018, "Fast winding numbers for soups and
    clouds", eq. 2). Each cell has one dipole D: outward normal × area, in units of a cell's face. The sum at the cells'
    centres is a convolution, computed by FFT.
    """

    def __init__(self, cells: int):
        super().__init__()
        self.cells = cells
        steps = torch.arange(2 * cells)
        steps = torch.where(steps < cells, steps, steps - 2 * cells).float()  # so that both signs of q - p are there
        offset = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"))  # q - p, (3, 2c, 2c, 2c)
        distance = offset.norm(dim=0)
        kernel = torch.where(distance > 0, -offset / (4 * math.pi * distance.clamp(min=1) ** 3), 0.0)
        self.spectrum: Tensor  # real and imaginary parts in the last axis: buffers move between dtypes as real numbers
        spectrum = torch.view_as_real(torch.fft.rfftn(kernel, dim=(1, 2, 3)))
        self.register_buffer("spectrum", spectrum, persistent=False)

    def forward(self, dipoles: Tensor) -> Tensor:
        """Dipoles (B, c, c, c, 3) → winding numbers (B, c, c, c)."""
        c = self.cells
        wide = torch.fft.rfftn(dipoles.permute(0, 4, 1, 2, 3), s=(2 * c,) * 3, dim=(2, 3, 4))  # zeros beyond the box
        product = (wide * torch.view_as_complex(self.spectrum)).sum(1)
        return torch.fft.irfftn(product, s=(2 * c,) * 3, dim=(1, 2, 3))[:, :c, :c, :c]
