"""Guidance by a sample's conditions: prompt, class and picture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fieldforge.asking.guidance import GuidanceChoice, Guided, scale_text
from fieldforge.diffusion.denoiser import Guidance
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.guidance.interval import Interval
from fieldforge.diffusion.guidance.rescaled import Rescaled
from fieldforge.errors import UserError
from fieldforge.generation import Generator, Scale
from fieldforge.ranges import Infinite, NotNegative, Share

SCALE = 3.0
OWN_SCALES = {"caption": "text", "image": "image", "class": "class"}
"""What sources read → the key of its own scale."""


@dataclass(frozen=True, kw_only=True)
class ConditionGuidance(GuidanceChoice):
    """Classifier-free guidance in the run's form, or in the form of `rescale` and `interval`.

    Args:
        scale: 0 is unconditional, 1 conditional; None: that of the pictures while it was trained, or 1 for a model that
            enlarges.
        text, image, class_: scale of a single source; None: `scale`.
        rescale: share of the rescaling to the conditional estimate, see `Rescaled`; None: the run's form.
        interval: interval of noise levels σ/α with guidance, see `Interval`; None: the run's form.
        negative: a negative prompt.
    """

    scale: float | None = None
    text: float | None = None
    image: float | None = None
    class_: float | None = None
    rescale: Share | None = None
    interval: tuple[NotNegative, Infinite] | None = None
    negative: str | None = None

    def __post_init__(self) -> None:
        if self.interval is not None and not self.interval[0] < self.interval[1]:
            levels = list(self.interval)
            raise UserError(f"guidance.interval={levels} must be two noise levels σ/α, the lower first: write [0.2,5]")
        if self.has_form and self.own_scales:
            raise UserError("guidance.rescale and guidance.interval go with one scale for all: give guidance=3")
        if self.negative is not None and not self.negative.strip():
            raise UserError("guidance.negative= is empty: write what to lead away from, or leave it out")

    @property
    def has_form(self) -> bool:
        """Whether `rescale` or `interval` replaces the run's form."""
        return self.rescale is not None or self.interval is not None

    @property
    def own_scales(self) -> dict[str, float]:
        """A source's key → its own scale, where one is set."""
        values = {"caption": self.text, "image": self.image, "class": self.class_}
        return {key: value for key, value in values.items() if value is not None}

    def lead(self, generator: Generator, label: Mapping[str, Any], output_dir: str) -> Guided:
        scale = self.scale_for(generator.read, usual_scale(label))
        self.check_form(label, scale)
        form = replace(generator, guidance=self.form()) if self.has_form else generator
        return Guided(form, scale, self.negative_for(generator.read, scale))

    def scale_for(self, read: Collection[str], usual: float = SCALE) -> Scale:
        """One scale, or one for each key that the model's sources `read`; `usual` where none is set.

        Raises:
            UserError: a scale for a key that no source reads, or guidance of an unconditional model.
        """
        for key in self.own_scales:
            if key not in read:
                options = ", ".join(f"guidance.{OWN_SCALES[one]}" for one in sorted(read) if one in OWN_SCALES)
                options = options or ("guidance= a number" if read else "none, it is unconditional")
                raise UserError(
                    f"guidance.{OWN_SCALES[key]} is given, but this model was not trained with it: its scales are "
                    f"{options}"
                )
        if not read:
            self.check_unconditional()
        own = 1.0 if "coarse" in read else usual  # an enlarged picture is to look as the small one, not more so
        common = own if self.scale is None else self.scale
        if not self.own_scales:
            return common
        others = sorted(set(read) - OWN_SCALES.keys())
        return {key: self.own_scales.get(key, common) for key in (*OWN_SCALES, *others) if key in read}

    def check_unconditional(self) -> None:
        """UserError where the guidance of an unconditional model is set."""
        for text in self.common_settings:
            raise UserError(f"{text} has no effect on this model, which reads nothing: leave it out")

    @property
    def common_settings(self) -> list[str]:
        """The settings for all conditions together, as typed on the command line."""
        values = {"guidance": self.scale, "guidance.rescale": self.rescale, "guidance.interval": self.interval}
        return [
            f"{key}={value:g}" if isinstance(value, int | float) else f"{key}={list(value)}"
            for key, value in values.items()
            if value is not None
        ]

    def check_requests(self, keys: Collection[str]) -> None:
        if self.negative is None and not keys:
            for text in self.common_settings:
                raise UserError(f"{text} has no effect, as nothing is asked for: give prompt=, class= or image= too")
        for key, scale in self.own_scales.items():
            if key not in keys and not (key == "caption" and self.negative is not None):
                name = OWN_SCALES[key]
                raise UserError(f"guidance.{name}={scale:g} has no effect, as no {name} is asked for: leave it out")

    def check_form(self, label: Mapping[str, Any], scale: Scale) -> None:
        """UserError for a form without effect at this scale, or one that the model's own guidance excludes."""
        for key, value, idle in (("rescale", self.rescale, (0.0, 1.0)), ("interval", self.interval, (1.0,))):
            if value is not None and scale in idle:
                raise UserError(
                    f"guidance.{key} has no effect at guidance={scale:g}: give more, such as guidance=3, or leave it "
                    "out"
                )
        config = label["config"]
        distilled = "distillation" in config
        if distilled and self.has_form:
            keys = " and ".join(f"guidance.{key}" for key in ("rescale", "interval") if getattr(self, key) is not None)
            raise UserError(f"this model's guidance is learned in, its form too: leave out {keys}")
        if distilled and self.negative is not None:
            raise UserError("guidance.negative= has no effect, as this model's guidance is learned in: leave it out")
        own = str(config["guidance"]["_target_"]).rpartition(".")[2]
        if isinstance(scale, Mapping) and own != ClassifierFree.__name__:
            kind = "is learned in and" if distilled else f"({own})"
            raise UserError(
                f"this model's guidance {kind} has one scale for all that it reads: give guidance= a number"
            )

    def form(self) -> Callable[[float], Guidance]:
        """Scale → guidance in the chosen form."""
        form: Callable[[float], Guidance] = ClassifierFree
        if self.rescale is not None:
            form = partial(Rescaled, phi=self.rescale)
        if self.interval is not None:
            lowest, highest = self.interval
            form = partial(Interval, guidance=form, lowest=lowest, highest=highest)
        return form

    def negative_for(self, read: Collection[str], scale: Scale) -> dict[str, Any]:
        """The negative prompt as a batch for the sources, {} without one. UserError where it has no effect."""
        if self.negative is None:
            return {}
        if scale in (0.0, 1.0):
            raise UserError(
                f"guidance.negative= has no effect at guidance={scale_text(scale)}: give more, such as guidance=3"
            )
        if "caption" not in read:
            raise UserError("guidance.negative= is given, but this model reads no texts: leave it out")
        return {"caption": self.negative.strip()}

    def facts(self) -> dict[str, Any]:
        levels = None if self.interval is None else [float(level) for level in self.interval]
        facts = {"negative": self.negative, "guidance_rescale": self.rescale, "guidance_interval": levels}
        return {key: value for key, value in facts.items() if value is not None}


def usual_scale(label: Mapping[str, Any]) -> float:
    """The guidance scale of the pictures that a run drew while it was trained (`monitor.pictures.scale`)."""
    monitor = label["config"].get("monitor") or {}
    return float((monitor.get("pictures") or {}).get("scale", SCALE))
