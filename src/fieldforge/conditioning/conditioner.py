"""The conditioner: all sources of a model, their dropout and their null condition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition, FeatureRow, Features
from fieldforge.conditioning.source import Source
from fieldforge.errors import UserError
from fieldforge.noise import randomness as random_numbers
from fieldforge.ranges import Count, Share


class Conditioner(nn.Module):
    """Combines sources: it adds their vectors, also those of frames, and concatenates their tokens and their numbers at
    each latent token.

    Without sources it gives the condition of an unconditional model: `Condition()`.

    Args:
        sources: name → source, all of one width D.
        drop_all: probability that a sample loses every source at once, on top of each source's own dropout.
    """

    def __init__(self, sources: Mapping[str, Source], drop_all: float = 0.0) -> None:
        super().__init__()
        assert 0.0 <= drop_all <= 1.0, f"drop_all is a probability, not {drop_all}"
        assert len({source.width for source in sources.values()}) <= 1, "all sources have one width"
        self.sources: Mapping[str, Source] = nn.ModuleDict(sources)  # type: ignore[assignment]
        self.drop_all = drop_all
        self._accepted: dict[str, Mapping[str, Any]] = {}  # source → fingerprint of stored features that fit it

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.sources)

    @property
    def aligned_channels(self) -> int:
        """A: the sum of the sources' numbers at each latent token."""
        return sum(source.aligned_channels for source in self.sources.values())

    def embed(self, batch: Mapping[str, Any], sources: Iterable[str] | None = None) -> dict[str, Features]:
        """Raw features of the batch from the frozen encoders, no gradient.

        Args:
            batch: holds what each source reads (`caption`, `class`: list of B str; `image`: B pictures, uint8 RGB or
                RGBA). Stored features take precedence: `features`, source → Features, or a list of B mappings
                source → FeatureRow.
            sources: embed only these (sampling with a prompt alone); None = all.

        Raises:
            UserError: an unknown source, or a batch without what a source reads.
        """
        features, stored = {}, self._stored(batch.get("features", {}))
        for name in self.names if sources is None else sources:
            source = self.source(name)
            if name in stored:
                features[name] = stored[name].to(self.device)
                continue
            if source.key not in batch:
                raise UserError(
                    f"the source {name!r} reads {source.key!r}, but the data has only {', '.join(sorted(batch))}: "
                    f"add a stage that gives it (of pictures for latents: +embedded=views) or take {name!r} out of "
                    f"conditioner.sources."
                )
            features[name] = source.embed(batch[source.key], self.device)
        return features

    def with_host_features(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with the `features` that need no network: stored ones, and those of sources that have none.

        For a batch on the host, before it is copied to a device: fewer and larger copies.
        """
        features = dict(self._stored(batch.get("features", {})))
        for name, source in self.sources.items():
            if name not in features and source.key in batch and not source.encodes:
                features[name] = source.embed(batch[source.key], torch.device("cpu"))
        return {**batch, "features": features}

    def augmented(self, features: Mapping[str, Features], randomness: random_numbers.Randomness) -> dict[str, Features]:
        """The features as a training step sees them, see `Source.augmented`."""
        return {name: self.source(name).augmented(each, randomness) for name, each in features.items()}

    def forward(
        self, features: Mapping[str, Features], drop: Mapping[str, Tensor] | None = None, batch_size: int | None = None
    ) -> Condition:
        """The condition of each row; a source that is not in `features` is null for all rows.

        Args:
            features: from `embed`.
            drop: source → (B,) bool, True = this row loses this source.
            batch_size: needed only where `features` is empty.
        """
        sizes = {each.batch_size for each in features.values()}
        assert len(sizes) <= 1, f"features of different batch sizes: {sizes}"
        size = next(iter(sizes), batch_size)
        assert size is not None or not self.sources, "without features the batch size has to be given"
        for name in (*features, *(drop or {})):
            self.source(name)
        parts = []
        for name, source in self.sources.items():
            null = source.null(size or 0)
            if name not in features:
                parts.append(null)
            elif drop is None or name not in drop:
                parts.append(source(features[name]))
            else:
                parts.append(source(features[name]).where(drop[name], null))
        return _join(parts)

    def null(self, batch_size: int) -> Condition:
        """The null condition of `batch_size` rows, without any source: classifier-free guidance leads away from it."""
        return self({}, batch_size=batch_size)

    def separately(self, features: Mapping[str, Features]) -> Condition:
        """Each source by itself, all others null: all rows of the first, then of the second, … (S · B).

        Guidance with a separate scale for each source requires this (Liu et al. 2022, arXiv 2206.01714, eq. 11).
        """
        return Condition.cat([self({name: each}) for name, each in features.items()])

    def draw_drop(
        self, batch_size: int, randomness: random_numbers.Randomness, device: torch.device | str | None = None
    ) -> dict[str, Tensor]:
        """Condition dropout of one step: source → (B,) bool, True = dropped, independent for each sample and source.

        A source's rate is 1 - (1 - dropout)(1 - drop_all). Classifier-free guidance, arXiv 2207.12598, algorithm 1; per
        source as in InstructPix2Pix, arXiv 2211.09800, section 3.2.1.
        """
        chances = [self.drop_all, *(source.dropout for source in self.sources.values())]
        uniform = random_numbers.uniform((batch_size, len(chances)), randomness).T  # (1 + sources, B)
        everything, *each = (numbers < chance for numbers, chance in zip(uniform, chances, strict=True))  # (B,) each
        place = device if device is not None else self.device
        return {name: (everything | drop).to(place) for name, drop in zip(self.sources, each, strict=True)}

    def fingerprint(self) -> dict[str, Any]:
        """The values that determine each source's features; a run's fingerprint and stored embeddings hold them."""
        return {name: dict(source.fingerprint()) for name, source in self.sources.items()}

    def _stored(
        self, batch_features: Mapping[str, Features] | Sequence[Mapping[str, FeatureRow]]
    ) -> Mapping[str, Features]:
        if isinstance(batch_features, Mapping):
            return batch_features
        for row in batch_features:
            for name, features in row.items():
                self.check_encoder(name, features.encoder)
        return {name: Features.from_rows([row[name] for row in batch_features]) for name in batch_features[0]}

    def check_encoder(self, name: str, theirs: Mapping[str, Any], way_out: str | None = None) -> None:
        """UserError unless the source itself would give the stored features. No encoder's network is loaded.

        `way_out`: what the error advises instead of embedding again.
        """
        if self._accepted.get(name) == theirs:
            return
        mine = self.source(name).fingerprint()
        differing = [key for key in sorted({*mine, *theirs}) if mine.get(key) != theirs.get(key)]
        if differing:
            pairs = ", ".join(f"{key}: {theirs.get(key)} there, {mine.get(key)} here" for key in differing)
            raise UserError(
                f"the stored features of {name!r} were made by another encoder than conditioner.parts.{name} "
                f"({pairs}): "
                f"{way_out or f'remove the embeddings/{name} of the data to embed them again, or set it alike'}."
            )
        self._accepted[name] = theirs

    @property
    def device(self) -> torch.device:
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def source(self, name: str) -> Source:
        """The source of that name. UserError if there is none."""
        if name not in self.sources:
            known = ", ".join(self.sources) or "none"
            raise UserError(f"this model has no source {name!r}: its sources are {known}.")
        return self.sources[name]


def compose(
    sources: Sequence[str],
    parts: Mapping[str, Callable[..., Source]],
    width: Count,
    drop_all: Share = 0.0,
    classes: Sequence[str] | None = None,
    clip: str | None = None,
) -> Conditioner:
    """A conditioner of the named parts, in that order; other parts are not built, and their encoders are not located.

    `classes` and `clip` belong to the parts: the configuration passes them on, and this function ignores them.

    Raises:
        UserError: an unknown source, or one that cannot be built, named by its part.
    """
    unknown = [name for name in sources if name not in parts]
    if unknown:
        raise UserError(
            f"conditioner.sources names {', '.join(unknown)}, but the parts are {', '.join(parts) or 'none'}: choose "
            f"others, conditioner/parts=[…]"
        )
    for name in sources:
        if not callable(parts[name]):
            raise UserError(f"conditioner.parts.{name} is no source: choose it as one, conditioner/parts=[…,{name}]")
    return Conditioner({name: _built(name, parts[name], width) for name in sources}, drop_all)


def _built(name: str, part: Callable[..., Source], width: int) -> Source:
    try:
        return part(width=width)
    except (ValueError, AssertionError) as error:
        if isinstance(error, UserError) or not str(error):
            raise
        raise UserError(f"config key conditioner.parts.{name}: {str(error).splitlines()[0]}") from error


def _join(parts: Sequence[Condition]) -> Condition:
    vectors = [part.vector for part in parts if part.vector is not None]
    tokens = [part.tokens for part in parts if part.tokens is not None]
    masks = [part.mask for part in parts if part.mask is not None]
    count = max((part.aligned.shape[1] for part in parts if part.aligned is not None), default=0)
    aligned = [part.aligned for part in (each.at_tokens(count) for each in parts) if part.aligned is not None]
    length = max((part.frames.shape[1] for part in parts if part.frames is not None), default=0)
    frames = [part.frames for part in (each.at_frames(length) for each in parts) if part.frames is not None]
    return Condition(
        torch.stack(vectors).sum(0) if vectors else None,  # (B, D)
        torch.cat(tokens, 1) if tokens else None,  # (B, L₁ + L₂ + …, D)
        torch.cat(masks, 1) if masks else None,
        torch.cat(aligned, 2) if aligned else None,  # (B, T, A₁ + A₂ + …)
        torch.stack(frames).sum(0) if frames else None,  # (B, V, D)
    )
