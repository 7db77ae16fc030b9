"""The models of a sample.py command, loaded and checked against its requests."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from fieldforge.asking.adapters import add_adapters
from fieldforge.asking.coarse import CoarseFile
from fieldforge.asking.drawing import Drawing
from fieldforge.asking.guidance import Guided
from fieldforge.asking.opening import Opening, check_wishes
from fieldforge.asking.requests import Request, ways
from fieldforge.asking.settings import SamplingSettings
from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.stored_config import plain_config
from fieldforge.configuration.values import check_key
from fieldforge.domains.domain import Domain, Outputs
from fieldforge.errors import UserError
from fieldforge.generation import ImagePrior
from fieldforge.ranges import Count
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.locate import find_model
from fieldforge.stages.prior_stage import load_prior
from fieldforge.stages.untrained import warn_if_untrained
from fieldforge.training.processes.hardware import best_device
from fieldforge.training.processes.precision import arithmetic_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SamplingModel:
    """A finished diffusion run, ready for sampling.

    Args:
        path: of its file.
        label: the label in this file.
        guided: its generator with the guidance of the command.
        autoencoder, domain: turn latents into outputs.
        prior: generates the features of a picture, or None.
    """

    path: Path
    label: Mapping[str, Any]
    guided: Guided
    autoencoder: Autoencoder
    domain: Domain
    prior: ImagePrior | None

    @property
    def understood(self) -> set[str]:
        """The possible condition keys."""
        first = {"image"} if self.guided.begins else set()
        return first | self.guided.generator.keys | (self.prior.generator.keys if self.prior else set())

    def check(self, settings: SamplingSettings, requests: Sequence[Request]) -> None:
        """UserError for guidance without effect on any request, an unused prior, or a missing input of the model."""
        check_wishes(settings.clip_wishes, settings.clip_frames, self.guided.generator.keys, self.domain.noun)
        if self.guided.begins and not all("image" in request.values for request in requests):
            raise UserError(f"a {self.domain.noun} of this model begins with a picture: give image= its file")
        if self.guided.enlarges and not any("from" in request.labels for request in requests):
            raise UserError(f"this model enlarges a small {self.domain.noun}: give from= its file")
        imagined = {"image"} if self.prior is not None else set()
        settings.guidance.check_requests(imagined.union(*(request.values for request in requests)))
        if self.prior is not None and not any(self.imagines(request) for request in requests):
            raise UserError(
                f"prior= makes a picture out of a text: give {ways(self.prior.generator.keys)} without image=, or "
                "leave it out"
            )

    def imagines(self, request: Request) -> bool:
        """Whether the prior generates the picture features of a request."""
        assert self.prior is not None
        return "image" not in request.values and bool(request.values.keys() & self.prior.generator.keys)

    def drawing(self, settings: SamplingSettings) -> Drawing:
        """Jobs → latents with the command's settings. UserError for an unreadable file of `from=`."""
        if self.guided.enlarges:
            return Drawing(self.guided, self.prior, settings.prior_scale, coarse=self.coarse(settings))
        start = anew = None
        if settings.from_ is not None:
            file, shape = Path(settings.from_), self.autoencoder.latent_shape
            if settings.mask is not None:
                anew = self.domain.read_mask(Path(settings.mask), file, shape)
            if settings.complete:
                batch, anew = self.domain.read_part(file, settings.seed, shape)
            else:
                batch = self.domain.read_file(file, settings.seed)
            start = encoded(self.autoencoder, batch)
        strength, opening = settings.variation_strength, None
        if self.guided.begins:
            opening = Opening(self.domain, self.autoencoder, settings.clip_wishes, settings.clip_frames)
        return Drawing(self.guided, self.prior, settings.prior_scale, start, strength, anew, opening=opening)

    def coarse(self, settings: SamplingSettings) -> CoarseFile:
        """The low-resolution file. UserError for an unreadable file, and for a mask of it."""
        for key, value in {"mask": settings.mask, "complete": settings.complete or None}.items():
            if value is not None:
                raise UserError(
                    f"{key}= has no effect on this model, which enlarges a {self.domain.noun}: leave it out"
                )
        values = self.domain.read_coarse(Path(str(settings.from_)), self.autoencoder.latent_shape)
        return CoarseFile(values, settings.strength or 0.0)

    def outputs(self, latents: Tensor, settings: SamplingSettings) -> Outputs:
        """Latents (B, T, C) → outputs with the command's settings."""
        outputs = self.domain.decode(self.autoencoder, latents, settings.resolution)
        if not settings.paste:
            return outputs
        return self.domain.pasted(outputs, Path(str(settings.mask)), Path(str(settings.from_)))


def load_model(path: Path, settings: SamplingSettings) -> SamplingModel:
    """The diffusion model in a file, with the sampler, guidance and prior of the command.

    Raises:
        UserError: no such sampler, guidance or prior, or one that does not fit the model; settings of files that its
            domain does not have.
    """
    generator, autoencoder, label = load_diffusion(path, sampler_block(settings), best_device(settings.device))
    add_adapters(settings.weighted_adapters, generator.model, label)
    warn_if_untrained(label, path.parent)
    if "distillation" in label["config"]:
        check_distilled(settings, check_key(plain_config(label["config"]), "distillation.steps", Count))
    guided = settings.guidance.lead(generator, label, settings.output_dir)
    arithmetic = arithmetic_of(settings, generator.device)
    guided = replace(guided, generator=guided.generator.computed(arithmetic))
    prior = None
    if settings.prior is not None:
        prior = load_prior(find_model(settings.prior, settings.output_dir, "prior", key="prior")[0], generator.device)
        prior.check(generator.conditioner)
        prior = replace(prior, generator=prior.generator.computed(arithmetic))
    domain = load_domain(label, path).with_files(settings.mesh)
    return SamplingModel(path, label, guided, autoencoder, domain, prior)


def sampler_block(settings: SamplingSettings) -> DictConfig:
    """Overrides of the run's sampler: none, its `steps`, or the whole block."""
    block = OmegaConf.create(settings.sampler or {})
    if settings.steps is not None:
        block.steps = settings.steps
    return OmegaConf.create({"sampler": block} if block else {})


def check_distilled(settings: SamplingSettings, steps: int) -> None:
    """UserError for another sampler than a distilled model's own; warns of more steps than it has learned."""
    if settings.sampler is not None:
        raise UserError("this model was distilled for the sampler that it has: leave sampler= out")
    if settings.steps is not None and settings.steps > steps:
        log.warning("steps=%d: this model was distilled to take %d, it has not learned more", settings.steps, steps)


@torch.no_grad()
def encoded(autoencoder: Autoencoder, batch: Mapping[str, Tensor]) -> Tensor:
    """Latent (1, T, C) of a user's file."""
    place = autoencoder.latent_mean.device
    return autoencoder.encode({name: field.to(place) for name, field in batch.items()})
