"""Guidance as sample.py is asked for it: its form, and what needs a second run (a classifier, a weaker model)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor

from fieldforge.conditioning.class_label import nearest_of
from fieldforge.conditioning.condition import Condition
from fieldforge.configuration.values import number
from fieldforge.diffusion.classifier import LatentClassifier
from fieldforge.diffusion.denoiser import Guidance
from fieldforge.diffusion.guidance.autoguidance import Autoguidance
from fieldforge.diffusion.guidance.classifier import ByClassifier
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.guidance.interval import Interval
from fieldforge.diffusion.guidance.rescaled import Rescaled
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.errors import UserError
from fieldforge.generation import Generator, Steering
from fieldforge.stages.classifier_stage import load_classifier
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.locate import find_model

log = logging.getLogger(__name__)
KINDS = ("classifier", "autoguidance")
SCALE, IDLE = 2.0, {"classifier": 0.0, "autoguidance": 1.0}  # how far they lead; where they do not


def form_of(config: DictConfig) -> dict[str, Any]:
    """What of `config.guidance` asks for another form: {}, `guidance_rescale` (0…1), `guidance_interval` (two σ/α)."""
    guidance = config.guidance
    if not isinstance(guidance, DictConfig):
        return {}
    told: dict[str, Any] = {}
    if guidance.rescale is not None:
        told["guidance_rescale"] = number(config, "guidance.rescale")
        if not 0 <= told["guidance_rescale"] <= 1:
            raise UserError(f"guidance.rescale={guidance.rescale} must be between 0 (plain guidance) and 1")
    if guidance.interval is not None:
        levels = list(guidance.interval) if isinstance(guidance.interval, ListConfig) else []
        if len(levels) != 2 or not all(isinstance(level, int | float) for level in levels):
            raise UserError(f"guidance.interval={guidance.interval} must be two noise levels σ/α, such as [0.2,5]")
        told["guidance_interval"] = [float(level) for level in levels]
    if told and any(guidance[name] is not None for name in ("text", "image", "class")):
        raise UserError("guidance.rescale and guidance.interval go with one scale for all: give guidance.all=")
    return told


def with_form(config: DictConfig, generator: Generator, label: Mapping[str, Any]) -> Generator:
    """The generator with guidance in the form that is asked for; the same where none is.

    Raises UserError for impossible settings, and for a model whose guidance is learned in.
    """
    wanted = form_of(config)
    if not wanted:
        return generator
    if "distillation" in label["config"]:
        raise UserError(f"this model's guidance is learned in, its form too: leave out {', '.join(wanted)}")
    form: Callable[[float], Guidance] = ClassifierFree
    if "guidance_rescale" in wanted:
        form = partial(Rescaled, phi=wanted["guidance_rescale"])
    if "guidance_interval" in wanted:
        lowest, highest = wanted["guidance_interval"]
        form = partial(Interval, guidance=form, lowest=lowest, highest=highest)
        form(1.0)  # refuses impossible levels now
    return replace(generator, guidance=form)


def check_learned_in(label: Mapping[str, Any], scale: float | Mapping[str, float], negative: str | None) -> None:
    """UserError where the model's own guidance cannot be had that way: each source by itself, or against a prompt."""
    config = label["config"]
    if "distillation" in config and negative is not None:
        raise UserError("negative= has no effect on this model, whose guidance is learned in: leave it out")
    own = str(config["guidance"]["_target_"]).rpartition(".")[2]
    if isinstance(scale, Mapping) and own != ClassifierFree.__name__:
        kind = "is learned in and" if "distillation" in config else f"({own})"
        raise UserError(f"this model's guidance {kind} has one scale for all that it reads: give guidance= a number")


def check_effect(config: DictConfig, scale: float | Mapping[str, float]) -> None:
    """UserError for a form of guidance that changes nothing at this scale."""
    for key, idle in (("guidance_rescale", (0.0, 1.0)), ("guidance_interval", (1.0,))):
        if key in form_of(config) and scale in idle:
            raise UserError(
                f"{key.replace('_', '.')} has no effect at guidance={scale:g}: give more, such as guidance=3, or "
                f"leave it out"
            )


def guided_by(config: DictConfig) -> dict[str, Any]:
    """What of `config.guidance` names a second run: {} or `guided_by`, `guided_by_run`, `guided_by_scale`."""
    guidance = config.guidance
    if not isinstance(guidance, DictConfig):
        return {}
    if guidance.get("by") is None:
        for key in ("run", "scale"):
            if guidance[key] is not None:
                raise UserError(
                    f"guidance.{key}={guidance[key]} is given, but not what for: give guidance={' or '.join(KINDS)}"
                )
        return {}
    if guidance.by not in KINDS:
        raise UserError(f"there is no guidance={guidance.by}: give a number, or one of {', '.join(KINDS)}")
    if guidance.run is None:
        kind = "a latent_classifier run" if guidance.by == "classifier" else "a weaker diffusion run"
        raise UserError(f"guidance={guidance.by} needs guidance.run=, the directory of {kind}")
    if guidance.by == "autoguidance":
        keys = [f"guidance.{key}" for key in ("all", "text", "image", "class", "rescale", "interval")]
        for key in (*keys, "negative"):
            if OmegaConf.select(config, key) is not None:
                raise UserError(
                    f"{key} has no effect beside guidance=autoguidance, which stands in the place of other guidance "
                    f"and has the scale guidance.scale: leave {key} out"
                )
    scale = SCALE if guidance.get("scale") is None else number(config, "guidance.scale")
    if scale == IDLE[guidance.by]:
        raise UserError(f"guidance={guidance.by} has no effect at guidance.scale={scale:g}: give more, or leave it out")
    return {"guided_by": guidance.by, "guided_by_run": str(guidance.run), "guided_by_scale": scale}


def with_guidance(config: DictConfig, generator: Generator, label: Mapping[str, Any]) -> Generator:
    """The generator, led by what `config.guidance` names besides; the same where that is nothing.

    Args:
        config: with `guidance` and `output_dir`.
        generator: of the run with this `label`.
        label: of the checkpoint.

    Raises:
        UserError: no such run, one of another stage, or one of another autoencoder's latents.
    """
    wanted = guided_by(config)
    if not wanted:
        return generator
    mine = {field.name: getattr(generator, field.name) for field in fields(Generator)}
    run, scale = wanted["guided_by_run"], wanted["guided_by_scale"]
    if wanted["guided_by"] == "classifier":
        path, _ = find_model(run, config.output_dir, "classifier")
        classifier, theirs = load_classifier(path, generator.device)
        _check_same_latents(run, theirs.get("autoencoder"), label)
        classifier.process = generator.model.process
        return ClassifierGuided(**mine, classifier=classifier, classes=theirs["classes"], scale=scale)
    if "distillation" in label["config"]:
        raise UserError("this model's guidance is learned in: leave guidance=autoguidance out")
    path, _ = find_model(run, config.output_dir, "diffusion")
    weak, _, theirs = load_diffusion(path, device=generator.device)
    _check_same_latents(run, theirs["autoencoder"]["fingerprint"], label)
    if theirs["config"]["process"] != label["config"]["process"]:
        raise UserError(f"guidance.run={run} was trained with another noise process: give one with the same")
    for name in set(weak.conditioner.names) & set(generator.conditioner.names):
        if weak.conditioner.source(name).fingerprint() != generator.conditioner.source(name).fingerprint():
            raise UserError(f"guidance.run={run} reads {name} by another encoder: give a run with the same")
    unread = sorted(generator.keys - weak.keys)
    if unread:
        log.warning("guidance.run=%s reads no %s: guidance also leads towards that", run, " or ".join(unread))
    return AutoGuided(**mine, weak=weak)


def _check_same_latents(run: str, theirs: str | None, label: Mapping[str, Any]) -> None:
    mine = label["autoencoder"]["fingerprint"]
    if theirs != mine:
        raise UserError(f"guidance.run={run} knows the latents of autoencoder {theirs}, not of {mine}: give another")


@dataclass(frozen=True)
class ClassifierGuided(Generator):
    """Also led by a classifier's gradient (Dhariwal & Nichol 2021), where a class is asked for.

    The model beneath is asked with what it understands, at a scale of its own; the class may be news to it.
    """

    classifier: LatentClassifier
    classes: Sequence[str]
    scale: float

    @property
    def keys(self) -> set[str]:
        return super().keys | {"class"}

    def check_class(self, name: str | None) -> None:
        super().check_class(name)
        if name is None:
            raise UserError("guidance=classifier leads to a class: give class=")
        if name not in self.classes:
            raise UserError(f"the classifier does not know class={name!r}: {nearest_of(name, self.classes)}")

    @torch.no_grad()
    def steering(
        self,
        batch: Mapping[str, Any],
        count: int,
        scale: float | Mapping[str, float],
        negative: Mapping[str, Any] | None = None,
    ) -> Steering:
        base = super().steering(batch, count, scale, negative)
        labels = torch.tensor([self.classes.index(name) for name in batch["class"]], device=self.device)  # (B,)
        return replace(base, guidance=ByClassifier(self.classifier, labels, self.scale, base.guidance))


@dataclass(frozen=True)
class AutoGuided(Generator):
    """Led away from a weaker model that is asked the same (Karras et al. 2024), in the place of other guidance.

    The scale that it is asked with is autoguidance's.
    """

    weak: Generator

    @torch.no_grad()
    def steering(
        self,
        batch: Mapping[str, Any],
        count: int,
        scale: float | Mapping[str, float],
        negative: Mapping[str, Any] | None = None,
    ) -> Steering:
        assert not isinstance(scale, Mapping), "autoguidance has one scale"
        base = super().steering(batch, count, 1.0, negative)
        known = {key: values for key, values in batch.items() if key in {*self.weak.keys, "features"}}
        weak = Asked(self.weak.model, self.weak.steering(known, count, 1.0).condition)
        return AwayFromWeak(base.condition, base.null, Autoguidance(scale, weak), weak)


class Asked:
    """A model with a condition of its own: each model's conditioner was trained with it."""

    def __init__(self, model: DiffusionModel, condition: Condition):
        self.model, self.condition = model, condition
        self.process = model.process

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.model(x_t, t, self.condition)


@dataclass(frozen=True)
class AwayFromWeak(Steering):
    """Steering by autoguidance: on a way, the weaker model is asked for what lies there too."""

    weak: Asked

    def toward(self, other: Steering, weights: Tensor) -> Steering:
        assert isinstance(self.guidance, Autoguidance)
        assert isinstance(other, AwayFromWeak)
        way = super().toward(other, weights)
        weak = Asked(self.weak.model, self.weak.condition.lerp(other.weak.condition, weights))
        return AwayFromWeak(way.condition, way.null, Autoguidance(self.guidance.scale, weak), weak)
