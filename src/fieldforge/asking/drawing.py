"""From what is asked for to latents: together, against a negative prompt, on the way to an end, or beside a mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldforge.asking.requests import Job, Request
from fieldforge.generation import Generator, ImagePrior, between

PRIOR_SEEDS = 2**40  # added to a shape's seed: its picture draws other numbers than the shape does


@dataclass(frozen=True)
class Drawing:
    """Jobs → latents.

    Args:
        generator: of the shapes.
        scale: of its guidance, see `Generator.steering`.
        negative: what guidance leads away from, as sources read it; empty: from the null condition.
        prior: makes the features of a picture out of what it is asked with, where no picture is given.
        prior_scale: of the prior's guidance.
        given: latent (1, T, C) to vary, or none.
        strength: how far, see `Sampler.vary`.
    """

    generator: Generator
    scale: float | Mapping[str, float]
    negative: Mapping[str, Any]
    prior: ImagePrior | None
    prior_scale: float
    given: Tensor | None
    strength: float

    @property
    def evaluations(self) -> int:
        """How often the denoiser is asked for a batch."""
        return self.generator.sampler.evaluations(self.generator.model, 1.0 if self.given is None else self.strength)

    def __call__(self, jobs: Sequence[Job], look: Callable[[int], None] | None = None) -> Tensor:
        """Latents (B, T, C) of B jobs, all of which are asked with the same. `look`: see `Generator.draw`."""
        seeds, end_seeds = [job.seed for job in jobs], [job.end_seed for job in jobs]
        weights = torch.tensor([job.weight for job in jobs], device=self.generator.device)  # (B,)
        away = {key: [value] * len(jobs) for key, value in self.negative.items()}
        steering = self.generator.steering(
            self.batch([job.request for job in jobs], seeds), len(jobs), self.scale, away
        )
        noise = self.generator.noise(seeds)  # (B, T, C)
        if any(job.end is not job.request for job in jobs):
            end = self.generator.steering(self.batch([job.end for job in jobs], seeds), len(jobs), self.scale, away)
            steering = steering.toward(end, weights)
        if end_seeds != seeds:
            noise = between(noise, self.generator.noise(end_seeds), weights)
        given = None if self.given is None else self.given.expand(len(jobs), -1, -1)
        return self.generator.draw(steering, noise, seeds[0], given, self.strength, look)

    def batch(self, asked: Sequence[Request], seeds: Sequence[int]) -> dict[str, Any]:
        """What the generator's conditioner reads; a picture that is not given is the prior's."""
        batch: dict[str, Any] = {key: [request.values[key] for request in asked] for key in asked[0].values}
        known = {key: values for key, values in batch.items() if key in self.generator.keys}
        if self.prior is None or "image" in batch:
            return known
        told = {key: values for key, values in batch.items() if key in self.prior.generator.keys}
        return {**known, "features": self.prior(told, [seed + PRIOR_SEEDS for seed in seeds], self.prior_scale)}
