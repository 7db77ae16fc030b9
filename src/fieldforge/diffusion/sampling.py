"""A sampler with its times: everything that turns a denoiser and noise into data, as one choice in the configs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser
from fieldforge.diffusion.samplers.sampler import Sampler
from fieldforge.diffusion.spacing import Spacing
from fieldforge.diffusion.thresholding import Threshold, Thresholded
from fieldforge.noise.process import Process


@dataclass(frozen=True)
class Sampling:
    """`steps` steps of `sampler` at the times of `spacing`, each estimate kept in range by `threshold`, if any."""

    sampler: Sampler
    spacing: Spacing
    steps: int
    threshold: Threshold | None = None

    @torch.no_grad()
    def __call__(self, denoise: Denoiser, noise: Tensor, process: Process, generator: torch.Generator) -> Tensor:
        """noise (B, T, C) standard normal → x0 (B, T, C)."""
        times = self.spacing.times(self.steps, process)  # (steps + 1,)
        if self.threshold is not None:
            denoise = Thresholded(denoise, self.threshold)
        return self.sampler.sample(denoise, noise, process, times, generator)
