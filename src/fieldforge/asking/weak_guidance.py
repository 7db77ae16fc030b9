"""Autoguidance: guidance away from a weaker model with the same conditions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fieldforge.asking.guidance import GuidanceChoice, Guided, check_latents
from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.guidance.autoguidance import Autoguidance
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.errors import UserError
from fieldforge.generation import Generator, Scale, Steering
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.locate import find_model

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WeakModelGuidance(GuidanceChoice):
    """Autoguidance (Karras et al. 2024).

    Args:
        run: directory of a finished diffusion model of the same latents, smaller or less trained.
        scale: guidance scale; 1 is the model without guidance.
    """

    run: str
    scale: float = 2.0

    def __post_init__(self) -> None:
        if self.scale == 1:
            raise UserError("guidance=autoguidance has no effect at guidance.scale=1: give more, or leave it out")

    def lead(self, generator: Generator, label: Mapping[str, Any], output_dir: str) -> Guided:
        if "distillation" in label["config"]:
            raise UserError("this model's guidance is learned in: leave guidance=autoguidance out")
        path, _ = find_model(self.run, output_dir, "diffusion", key="guidance.run")
        weak, _, weak_label = load_diffusion(path, device=generator.device)
        check_latents(self.run, weak_label["autoencoder"]["fingerprint"], label)
        if weak_label["config"]["process"] != label["config"]["process"]:
            raise UserError(f"guidance.run={self.run} was trained with another noise process: give one with the same")
        self.check_sources(weak, generator)
        return Guided(generator.extended(AutoGuided, weak=weak), self.scale, {})

    def check_sources(self, weak: Generator, generator: Generator) -> None:
        """UserError where the weaker model has another encoder; warns of conditions that it does not read."""
        for name in set(weak.conditioner.names) & set(generator.conditioner.names):
            if weak.conditioner.source(name).fingerprint() != generator.conditioner.source(name).fingerprint():
                raise UserError(f"guidance.run={self.run} reads {name} by another encoder: give a run with the same")
        unread = sorted(generator.keys - weak.keys)
        if unread:
            log.warning("guidance.run=%s reads no %s: guidance also leads towards that", self.run, " or ".join(unread))

    def facts(self) -> dict[str, Any]:
        return {"guided_by": "autoguidance", "guided_by_run": self.run, "guided_by_scale": self.scale}


@dataclass(frozen=True)
class AutoGuided(Generator):
    """A generator with autoguidance, whose scale is that of `steering`."""

    weak: Generator

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (*super().networks, self.weak.model)

    @torch.no_grad()
    def steering(
        self,
        batch: Mapping[str, Any],
        count: int,
        scale: Scale,
        negative: Mapping[str, Any] | None = None,
    ) -> Steering:
        assert not isinstance(scale, Mapping), "autoguidance has one scale"
        base = super().steering(batch, count, 1.0, negative)
        known = {key: values for key, values in batch.items() if key in {*self.weak.keys, "features"}}
        weak = WeakModel(self.weak.model, self.weak.steering(known, count, 1.0).condition)
        return AwayFromWeak(base.condition, base.null, Autoguidance(scale, weak), weak)


class WeakModel:
    """The weaker model with its own condition, from its own conditioner."""

    def __init__(self, model: DiffusionModel, condition: Condition):
        self.model, self.condition = model, condition
        self.process = model.process

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.model(x_t, t, self.condition)


@dataclass(frozen=True)
class AwayFromWeak(Steering):
    """Steering by autoguidance: it interpolates the weaker model's condition too."""

    weak: WeakModel

    def toward(self, other: Steering, weights: Tensor) -> Steering:
        assert isinstance(self.guidance, Autoguidance)
        assert isinstance(other, AwayFromWeak)
        way = super().toward(other, weights)
        weak = WeakModel(self.weak.model, self.weak.condition.lerp(other.weak.condition, weights))
        return AwayFromWeak(way.condition, way.null, Autoguidance(self.guidance.scale, weak), weak)
