"""Conditions out of the data for image-, class- or text-conditioned models: for pictures and evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.transforms import FromSample
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import ShardSet
from fieldforge.data.transforms import Meta, Transform
from fieldforge.domains.domain import Domain


def from_samples(data: ShardDataModule) -> list[Transform]:
    """The transforms of a data module that read sample shards by the latent's key."""
    return [transform for transform in data.transforms if isinstance(transform, FromSample)]


def conditions(
    domain: Domain, shards: ShardSet, keys: set[str], count: int | None, further: Sequence[Transform] = ()
) -> dict[str, Any]:
    """Conditions of the first `count` samples for a model that reads `keys`: lists `caption`, `class`, `image`.

    Pictures need sample shards. The result also holds `meta`, and the fields of `further` transforms.
    """
    transforms: list[Transform] = [*domain.condition_transforms(keys), Meta(), *further]
    size = shards.samples if count is None else min(count, shards.samples)
    batch = next(iter(HeldOut(shards, transforms, seed=0, batch_size=size, limit=size)))
    captions = [first_caption(meta) for meta in batch["meta"]]
    images = {"image": list(batch["image"].numpy())} if "image" in keys else {}
    return {**batch, "caption": captions, "class": [meta["class"] for meta in batch["meta"]], **images}


def latent_conditions(data: ShardDataModule, conditioner: Conditioner, split: str, count: int) -> dict[str, Any]:
    """The first `count` latents of a split of a data module, with what it gives beside them.

    `features`: source → Features of what the transforms give, encoded where a source has an encoder. The result also
    holds `meta`.
    """
    shards = data.shards(split)
    size = min(count, shards.samples)
    batch = next(iter(HeldOut(shards, [*data.transforms, Meta()], seed=0, batch_size=size, limit=size)))
    stored = batch.get("features", {})
    ready = set(stored) if isinstance(stored, Mapping) else set(stored[0])
    names = [name for name, source in conditioner.sources.items() if name in ready or source.key in batch]
    return {**batch, "features": conditioner.embed(batch, names)}


def reads_latents(conditioner: Conditioner) -> bool:
    """Whether a source reads what comes with latents alone."""
    return any(source.of_latents for source in conditioner.sources.values())


def first_caption(meta: Mapping[str, Any]) -> str:
    """The text of a sample: its first caption, or its class if it has no caption."""
    return meta["captions"][0] if meta["captions"] else meta["class"]
