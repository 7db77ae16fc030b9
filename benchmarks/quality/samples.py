"""Samples of a model by any sampler, from the same noises under the same conditions, with evaluations counted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.sampler import Sampler
from fieldforge.generation import Generator
from fieldforge.training.processes.precision import best_precision

CHUNK = 48


class Samples:
    """The same noises and conditions for every sampler.

    Args:
        sampler: of the run.
        batch: as `read_latents` gives it, of the chosen training assets.
        scale: of guidance.
        baked: guidance is learned in, as by distillation.
    """

    def __init__(self, sampler: Generator, batch: dict[str, Any], scale: float, baked: bool = False):
        count = len(batch["latent"])
        self.sampler = sampler
        self.noise = torch.randn(count, *sampler.latent_shape[:2], generator=torch.Generator().manual_seed(0))
        self.autocast = best_precision(gpu=False) == "bf16-mixed"
        guidance = sampler.guidance(scale) if baked else ClassifierFree(scale)
        self.denoisers: list[Denoiser] = []
        with torch.no_grad():
            for start in range(0, count, CHUNK):
                part = {name: values[start : start + CHUNK] for name, values in batch.items()}
                size = len(part["latent"])
                features = sampler.conditioner.embed(part)
                condition, null = sampler.conditioner(features, batch_size=size), sampler.conditioner.null(size)
                self.denoisers.append(sampler.model.guided(guidance, condition, null))

    def __call__(self, sampling: Sampler) -> tuple[Tensor, int]:
        """Latents (G, T, C) and the number of evaluations that each took."""
        calls = 0
        parts = []
        for denoise, noise in zip(self.denoisers, self.noise.split(CHUNK), strict=True):
            counted = Counted(denoise)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):  # as in training
                generator = torch.Generator().manual_seed(1)
                parts.append(sampling(counted, noise, self.sampler.model.process, generator).float())
            calls = counted.calls
        return torch.cat(parts), calls


class Counted:
    """A denoiser that counts; what else it offers stays reachable."""

    def __init__(self, denoise: Denoiser):
        self.denoise, self.calls = denoise, 0

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return self.denoise(x_t, t)

    def __getattr__(self, name: str) -> object:
        return getattr(self.__dict__["denoise"], name)
