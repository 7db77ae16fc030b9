"""The interface of sample.py's option group `guidance`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fieldforge.errors import UserError

if TYPE_CHECKING:  # settings are checked before torch is imported
    from fieldforge.generation import Generator, Scale


@dataclass(frozen=True)
class Guided:
    """A generator with its guidance scale and negative condition.

    Args:
        generator: of latents.
        scale: guidance scale, see `Generator.steering`.
        negative: batch of the negative condition; empty: the null condition.
    """

    generator: Generator
    scale: Scale
    negative: Mapping[str, Any]

    @property
    def enlarges(self) -> bool:
        """Whether this is a super-resolution model, for which `from=` is the low-resolution input."""
        return "coarse" in self.generator.keys

    @property
    def begins(self) -> bool:
        """Whether this is a model of clips, for which `image=` is the first picture."""
        return "first_frame" in self.generator.keys


class GuidanceChoice(ABC):
    """Settings of one kind of guidance."""

    @abstractmethod
    def lead(self, generator: Generator, label: Mapping[str, Any], output_dir: str) -> Guided:
        """The generator with guidance of the run with this `label`; further runs lie below `output_dir`.

        Raises:
            UserError: guidance that does not fit this model or has no effect; no such further run.
        """

    def check_requests(self, keys: Collection[str]) -> None:
        """UserError for guidance without effect on samples with these condition keys (caption, …)."""
        return None

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Facts for reports, besides the scale."""


def scale_by_name(scale: Scale) -> float | dict[str, float]:
    """Guidance scales as typed on the command line, where the caption's key is text."""
    if not isinstance(scale, Mapping):
        return scale
    return {"text" if key == "caption" else key: value for key, value in scale.items()}


def scale_text(scale: Scale) -> str:
    """A guidance scale as a short text."""
    names = scale_by_name(scale)
    return " ".join(f"{key} {value:g}" for key, value in names.items()) if isinstance(names, dict) else f"{names:g}"


def check_latents(run: str, fingerprint: str | None, label: Mapping[str, Any]) -> None:
    """UserError unless the model of `guidance.run` shares the autoencoder with the model of `label`."""
    own = label["autoencoder"]["fingerprint"]
    if fingerprint != own:
        raise UserError(
            f"guidance.run={run} knows the latents of autoencoder {fingerprint}, not of {own}: give another"
        )
