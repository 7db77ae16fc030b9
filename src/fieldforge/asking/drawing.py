"""Draws the latents of jobs: in batches, with negative prompts, interpolations, variations and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldforge.asking.coarse import CoarseFile
from fieldforge.asking.guidance import Guided
from fieldforge.asking.jobs import Job
from fieldforge.asking.opening import WINDOW_SEEDS, Opening
from fieldforge.asking.requests import Request
from fieldforge.diffusion.denoiser import Look
from fieldforge.generation import ImagePrior, Steering, between

PRIOR_SEEDS = 2**40  # added to a sample's seed: its picture draws other numbers than the sample does


@dataclass(frozen=True)
class Drawing:
    """Jobs → latents.

    Args:
        guided: the generator and its guidance.
        prior: generates picture features for a request without a picture.
        prior_scale: guidance scale of the prior.
        start: latent (1, T, C) to vary, or None.
        strength: strength of variations, see `Sampler.vary`.
        anew: (T,) bool, the tokens to sample, the others stay those of `start`; None: all.
        coarse: the low-resolution input of super-resolution, or None.
        opening: what a model of clips reads of its first pictures, or None.
    """

    guided: Guided
    prior: ImagePrior | None = None
    prior_scale: float = 1.0
    start: Tensor | None = None
    strength: float = 1.0
    anew: Tensor | None = None
    coarse: CoarseFile | None = None
    opening: Opening | None = None

    @property
    def evaluations(self) -> int:
        """Number of denoiser evaluations of a batch."""
        generator = self.guided.generator
        once = generator.sampler.evaluations(generator.model, 1.0 if self.start is None else self.strength)
        return once * (1 if self.opening is None else self.opening.windows)

    def __call__(self, jobs: Sequence[Job], look: Look | None = None) -> Tensor:
        """Latents (B, T, C) of B jobs with the same condition keys. `look`: see `Generator.draw`."""
        generator = self.guided.generator
        seeds, end_seeds = [job.seed for job in jobs], [job.end_seed for job in jobs]
        weights = torch.tensor([job.weight for job in jobs], device=generator.device)  # (B,)
        steering = self.steering([job.request for job in jobs], seeds)
        noise = generator.noise(seeds)  # (B, T, C)
        if any(job.end is not job.request for job in jobs):
            steering = steering.toward(self.steering([job.end for job in jobs], seeds), weights)
        if end_seeds != seeds:
            noise = between(noise, generator.noise(end_seeds), weights)
        start = None if self.start is None else self.start.expand(len(jobs), -1, -1)
        latents = generator.draw(steering, noise, seeds, start, self.strength, look, self.anew)
        opening = self.opening
        if opening is None:
            return latents
        requests = [job.request for job in jobs]

        def further(number: int, known: Tensor, anew: Tensor) -> Tensor:
            later = [seed + number * WINDOW_SEEDS for seed in seeds]
            steering = self.steering(requests, seeds, {"first_frame": opening.first_of(known)})
            return generator.draw(steering, generator.noise(later), later, known, 1.0, look, anew)

        return opening.lengthened(latents, further)

    def steering(
        self, requests: Sequence[Request], seeds: Sequence[int], instead: Mapping[str, Any] | None = None
    ) -> Steering:
        """The steering of B requests; `instead`: values in the place of those that a first picture gives."""
        count = len(requests)
        negative = {key: [value] * count for key, value in self.guided.negative.items()}
        batch = {**self.batch(requests, seeds), **(instead or {})}
        return self.guided.generator.steering(batch, count, self.guided.scale, negative)

    def batch(self, requests: Sequence[Request], seeds: Sequence[int]) -> dict[str, Any]:
        """The batch for the generator's conditioner; the prior generates the features of a missing picture."""
        features = {} if self.coarse is None else self.coarse.features(self.guided.generator.conditioner, seeds)
        batch: dict[str, Any] = {key: [request.values[key] for request in requests] for key in requests[0].values}
        if self.opening is not None:
            batch |= self.opening.values(batch["image"])
        own = {key: values for key, values in batch.items() if key in self.guided.generator.keys}
        if self.prior is None or "image" in batch:
            return {**own, "features": features} if features else own
        texts = {key: values for key, values in batch.items() if key in self.prior.generator.keys}
        features |= self.prior(texts, [seed + PRIOR_SEEDS for seed in seeds], self.prior_scale)
        return {**own, "features": features}
