"""Classifier guidance, on top of the guidance by the model's own conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from fieldforge.asking.condition_guidance import ConditionGuidance
from fieldforge.asking.guidance import Guided, check_latents
from fieldforge.conditioning.class_label import nearest_of
from fieldforge.diffusion.classifier import LatentClassifier
from fieldforge.diffusion.guidance.by_classifier import ByClassifier
from fieldforge.errors import UserError
from fieldforge.generation import Generator, Scale, Steering
from fieldforge.stages.classifier_stage import load_classifier
from fieldforge.stages.locate import find_model


@dataclass(frozen=True, kw_only=True)
class ClassifierGuidance(ConditionGuidance):
    """Guides to a class by the gradient of a classifier; `ConditionGuidance` guides the base model.

    Args:
        run: directory of a finished classifier.
        classifier_scale: scale of its gradient.
    """

    run: str
    classifier_scale: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classifier_scale == 0:
            raise UserError(
                "guidance=classifier has no effect at guidance.classifier_scale=0: give more, or leave it out"
            )

    def lead(self, generator: Generator, label: Mapping[str, Any], output_dir: str) -> Guided:
        beneath = super().lead(generator, label, output_dir)
        path, _ = find_model(self.run, output_dir, "classifier", key="guidance.run")
        classifier, labels = load_classifier(path, generator.device)
        check_latents(self.run, labels.get("autoencoder"), label)
        classifier.process = generator.model.process
        guided = beneath.generator.extended(
            ClassifierGuided, classifier=classifier, classes=labels["classes"], classifier_scale=self.classifier_scale
        )
        return replace(beneath, generator=guided)

    def facts(self) -> dict[str, Any]:
        second = {"guided_by": "classifier", "guided_by_run": self.run, "guided_by_scale": self.classifier_scale}
        return super().facts() | second


@dataclass(frozen=True)
class ClassifierGuided(Generator):
    """A generator with classifier guidance (Dhariwal & Nichol 2021) for requests with a class.

    The base model reads its own conditions, at a separate scale; it need not know the class.
    """

    classifier: LatentClassifier
    classes: Sequence[str]
    classifier_scale: float

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (*super().networks, self.classifier)

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
        scale: Scale,
        negative: Mapping[str, Any] | None = None,
    ) -> Steering:
        base = super().steering(batch, count, scale, negative)
        labels = torch.tensor([self.classes.index(name) for name in batch["class"]], device=self.device)  # (B,)
        return replace(base, guidance=ByClassifier(self.classifier, labels, self.classifier_scale, base.guidance))
