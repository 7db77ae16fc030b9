"""The work of frozen encoders ahead of a training, described before it runs: for the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.image_source import ImageSource
from fieldforge.conditioning.source import Source
from fieldforge.conditioning.stored import has_embeddings
from fieldforge.conditioning.text_source import TextSource
from fieldforge.conditioning.transforms import StoredFeatures
from fieldforge.data.tar_members import stored_bytes
from fieldforge.stages.conditioner_check import latent_transforms
from fieldforge.stages.latent_stage import DESCRIPTION, HEADER
from fieldforge.stages.work import Embedding, Sizes


def embeddings_of(config: DictConfig, conditioner: Conditioner, sizes: Sizes) -> tuple[Embedding, ...]:
    """The features that `latent_data.transforms` read and that are not there yet."""
    missing = {
        name: conditioner.source(name)
        for transform in stored_transforms(config)
        for name in transform.sources
        if not has_embeddings(transform.root, name)
    }
    return tuple(embedding_of(name, source, sizes) for name, source in missing.items())


def embedding_of(name: str, source: Source, sizes: Sizes) -> Embedding:
    """The features of one source, for all captions or views of a sample."""
    encoder: Any = source.encoder
    load = lambda: (getattr(encoder, "tokenizer", None), getattr(encoder, "network", None))  # noqa: E731
    if isinstance(source, TextSource):
        text = " ".join(["a"] * max(1, sizes.text_tokens - 2))  # a word a token, between two special ones
        encode = lambda: [encoder.encode([text], torch.device("cpu")) for _ in range(sizes.rows)]  # noqa: E731
    else:
        assert isinstance(source, ImageSource), f"{name} has no encoder that is embedded"
        rows = sizes.rows * max(1, source.lights)
        encode = lambda: [encoder.encode(torch.rand(rows, 3, encoder.size, encoder.size))]  # noqa: E731
    return Embedding(name, load, encode, feature_bytes(source, sizes))


def feature_bytes(source: Source, sizes: Sizes) -> int:
    """Bytes of the stored float16 features of a sample."""
    rows = sizes.rows * (max(1, source.lights) if isinstance(source, ImageSource) else 1)
    tokens = sizes.text_tokens if source.token_count is None else source.token_count
    arrays = [HEADER + 2 * rows * width for width in (source.vector_width, (source.token_width or 0) * tokens) if width]
    masks = [HEADER + rows * tokens] if source.token_width and source.token_count is None else []
    return stored_bytes(DESCRIPTION, *arrays, *masks)


def with_features(size: float | None, config: DictConfig, conditioner: Conditioner, sizes: Sizes) -> float | None:
    """Bytes that a latent of `size` bytes takes with the stored features that are read beside it."""
    names = {name for transform in stored_transforms(config) for name in transform.sources}
    sources: Mapping[str, Any] = conditioner.sources
    return None if size is None else size + sum(feature_bytes(sources[name], sizes) for name in names)


def stored_transforms(config: DictConfig) -> list[StoredFeatures]:
    """The transforms of the latents' data that read stored features."""
    return [one for one in latent_transforms(config).values() if isinstance(one, StoredFeatures)]
