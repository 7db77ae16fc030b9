"""The contract of a choice of sample.py's group `guidance`: how what is asked for leads a generator."""

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
    """A generator, and what its guidance is steered by.

    Args:
        generator: of latents.
        scale: of its guidance, see `Generator.steering`.
        negative: what guidance leads away from, as sources read it; empty: from the null condition.
    """

    generator: Generator
    scale: Scale
    negative: Mapping[str, Any]

    @property
    def enlarges(self) -> bool:
        """Whether the model draws large things for small ones: `from=` is the small one then."""
        return "coarse" in self.generator.keys


class GuidanceChoice(ABC):
    """Settings of one kind of guidance."""

    @abstractmethod
    def lead(self, generator: Generator, label: Mapping[str, Any], output_dir: str) -> Guided:
        """The generator of the run with this `label`, guided; further runs lie below `output_dir`.

        Raises:
            UserError: guidance that this model cannot take, or that changes nothing; no such further run.
        """

    def check_requests(self, keys: Collection[str]) -> None:
        """UserError for guidance that changes nothing, as samples are asked for by these keys alone (caption, …)."""
        return None

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What reports say of it besides the scale."""


def scale_by_name(scale: Scale) -> float | dict[str, float]:
    """A scale as it is typed: that of captions is called text."""
    if not isinstance(scale, Mapping):
        return scale
    return {"text" if key == "caption" else key: value for key, value in scale.items()}


def scale_text(scale: Scale) -> str:
    """A scale in few words."""
    names = scale_by_name(scale)
    return " ".join(f"{key} {value:g}" for key, value in names.items()) if isinstance(names, dict) else f"{names:g}"


def check_latents(run: str, fingerprint: str | None, label: Mapping[str, Any]) -> None:
    """UserError unless `guidance.run` knows latents of the autoencoder with this fingerprint, that of `label`."""
    own = label["autoencoder"]["fingerprint"]
    if fingerprint != own:
        raise UserError(
            f"guidance.run={run} knows the latents of autoencoder {fingerprint}, not of {own}: give another"
        )
