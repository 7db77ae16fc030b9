"""Generation of latents from conditions: steering, guidance, noise.

Training pictures, `sample.py` and `evaluate.py` all sample through this module, so that their results agree. A domain
turns the latents into outputs. Axis letters: B samples, T latent tokens, C latent channels, F features of an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition, Features
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.prior import EmbeddingSpace
from fieldforge.diffusion.completion import Completion
from fieldforge.diffusion.denoiser import Guidance, Inside, Look, Watched
from fieldforge.diffusion.guidance.several import Several
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.sampler import Sampler
from fieldforge.errors import UserError
from fieldforge.nn.arithmetic import Arithmetic, compile_blocks
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.noise.randomness import RowRandomness

Extended = TypeVar("Extended")
Scale = float | Mapping[str, float]
"""Of guidance: one for all, or one for each of what sources read ("caption", "image", …)."""


@dataclass(frozen=True)
class Steering:
    """Steering of B samples: their condition, their null (or negative) condition, and the guidance.

    Guidance by S conditions at once needs S · B rows of condition, all rows of the first before those of the second.
    """

    condition: Condition
    null: Condition
    guidance: Guidance

    def toward(self, other: Steering, weights: Tensor) -> Steering:
        """Interpolates each row from this steering to another with `weights` (B,) in 0…1."""
        rows = self.condition.batch_size or len(weights)
        condition = self.condition.lerp(other.condition, weights.repeat(rows // len(weights)))
        return Steering(condition, self.null, self.guidance)


@dataclass(frozen=True)
class Generator:
    """Generates latents from conditions.

    Args:
        model: the denoiser.
        conditioner: turns prompts, classes, pictures into conditions.
        sampler: solver with its times.
        guidance: scale → guidance.
        latent_shape: shape of the model's latents.
        arithmetic: of the networks' evaluations; None: that of the surroundings.
    """

    model: DiffusionModel
    conditioner: Conditioner
    sampler: Sampler
    guidance: Callable[[float], Guidance]
    latent_shape: LatentShape
    _: KW_ONLY
    arithmetic: Arithmetic | None = None

    @property
    def keys(self) -> set[str]:
        """The keys of possible conditions: "caption", "class", "image"."""
        return self.read

    @property
    def read(self) -> set[str]:
        """The keys that the model's sources read; each can have its own guidance scale."""
        return {self.conditioner.sources[name].key for name in self.conditioner.names}

    def check_class(self, name: str | None) -> None:
        """UserError for an unknown class, or for None where the model needs a class."""
        names = [source for source in self.conditioner.names if self.conditioner.sources[source].key == "class"]
        if name is not None:
            self.conditioner.embed({"class": [name]}, names)  # refuses unknown classes

    def with_steps(self, steps: int | None) -> Generator:
        """The same generator with this number of sampler steps; None: unchanged."""
        return self if steps is None else replace(self, sampler=replace(self.sampler, steps=steps))

    def extended(self, kind: Callable[..., Extended], **further: Any) -> Extended:
        """A generator of another class with the parts of this one and the `further` arguments of that class."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(Generator)}, **further)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The networks that an evaluation runs."""
        return (self.model,)

    def computed(self, arithmetic: Arithmetic) -> Self:
        """The same generator, whose networks compute so; they are compiled in place."""
        if arithmetic.compile:
            for network in self.networks:
                compile_blocks(network)
        return replace(self, arithmetic=arithmetic)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any], seeds: Sequence[int], scale: Scale) -> Tensor:
        """Latents (B, T, C), one for each seed.

        A row depends on its seed and condition alone.

        Args:
            batch, scale: see `steering`.
            seeds: B whole numbers.
        """
        return self.draw(self.steering(batch, len(seeds), scale), self.noise(seeds), seeds)

    @torch.no_grad()
    def steering(
        self,
        batch: Mapping[str, Any],
        count: int,
        scale: Scale,
        negative: Mapping[str, Any] | None = None,
    ) -> Steering:
        """The steering of `count` samples.

        Args:
            batch: values for the conditioner's sources, for example {"caption": [B texts]}, or their `features` by
                name; a source without a value is null, so {} is unconditional.
            count: B.
            scale: guidance scale: 1 = conditional without guidance, 0 = unconditional. A mapping from the sources' keys
                ("caption", "image", …) gives each source its own scale (Liu et al. 2022, arXiv 2206.01714, eq. 11).
            negative: like `batch`: guidance leads away from it instead of the null condition.
        """
        features = self._features(batch)
        null = self.conditioner(self._features(negative or {}), batch_size=count)
        if isinstance(scale, Mapping) and features:
            scales = [scale[self.conditioner.sources[name].key] for name in features]
            return Steering(self.conditioner.separately(features), null, Several(scales))
        common = 1.0 if isinstance(scale, Mapping) else scale
        # Asked with nothing, condition and null are one: scale 0 says so with a single evaluation.
        guidance = self.guidance(common if features or negative else 0.0)
        return Steering(self.conditioner(features, batch_size=count), null, guidance)

    def noise(self, seeds: Sequence[int]) -> Tensor:
        """Standard normal (B, T, C), each row from its seed alone."""
        rows = [torch.randn(self.latent_shape[:2], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(rows).to(self.device)

    @torch.no_grad()
    def draw(
        self,
        steering: Steering,
        noise: Tensor,
        seeds: Sequence[int],
        start: Tensor | None = None,
        strength: float = 1.0,
        look: Look | None = None,
        anew: Tensor | None = None,
    ) -> Tensor:
        """Latents (B, T, C) out of noise (B, T, C), variations of latents, or inpainted latents.

        Args:
            steering: condition and guidance.
            noise: (B, T, C).
            seeds: B seeds of the noise that a stochastic sampler adds at its steps.
            start: latents (B, T, C) to vary, see `Sampler.vary`; None: out of noise alone.
            strength: strength of variations; 1: sampling starts from noise alone.
            look: called after each evaluation of the denoiser with the number of evaluations and the estimate x0.
            anew: (T,) bool, the tokens to sample, the others stay those of `start`; None: all.
        """
        denoise = self.model.guided(steering.guidance, steering.condition, steering.null)
        if self.arithmetic is not None:
            denoise = Inside(denoise, self.arithmetic.evaluation)
        if start is not None and anew is not None:
            denoise = Completion(denoise, start, anew)
        if look is not None:
            denoise = Watched(denoise, look)
        steps = RowRandomness("sampling", seeds, self.device)
        with nullcontext() if self.arithmetic is None else self.arithmetic.sampling():
            if start is None or strength == 1:
                return self.sampler(denoise, noise, self.model.process, steps)
            return self.sampler.vary(denoise, start, noise, self.model.process, steps, strength)

    def _features(self, batch: Mapping[str, Any]) -> dict[str, Features]:
        stored = batch.get("features", {})
        names = [n for n in self.conditioner.names if n in stored or self.conditioner.sources[n].key in batch]
        return self.conditioner.embed(batch, names) if names else {}


def between(start: Tensor, end: Tensor, weights: Tensor) -> Tensor:
    """Spherical interpolation of two independent noises (B, T, C) with `weights` (B,) in 0…1: standard normal.

    cos(w π/2) start + sin(w π/2) end (Shoemake 1985, for right angles) keeps the variance at 1.
    """
    angle = (weights * math.pi / 2).view(-1, 1, 1).to(start)
    return angle.cos() * start + angle.sin() * end


@dataclass(frozen=True)
class ImagePrior:
    """The prior of DALL·E 2 (arXiv 2204.06125, section 2.2): from a prompt to an image embedding.

    Args:
        generator: of latents (B, 1, F).
        space: maps these latents to vectors of the source.
        source: name of the image source that these vectors belong to.
        encoder: that source's fingerprint.
    """

    generator: Generator
    space: EmbeddingSpace
    source: str
    encoder: Mapping[str, Any]

    def __call__(self, batch: Mapping[str, Any], seeds: Sequence[int], scale: float) -> dict[str, Features]:
        """`features` that replace the picture in a batch of the conditional model; `batch`: the prior's conditions."""
        return {self.source: self.space.decode(self.generator(batch, seeds, scale))}

    def check(self, conditioner: Conditioner) -> None:
        """UserError unless that conditioner reads vectors of the source, without tokens."""
        conditioner.check_encoder(
            self.source, self.encoder, "use a prior of the encoder that the model was trained with"
        )
        if conditioner.sources[self.source].token_projection is not None:
            raise UserError(
                f"the model is steered by the tokens of {self.source} too, but a prior gives only its vector: use one "
                f"trained with conditioner.parts.{self.source}.tokens=false"
            )
