"""Placeholder batches of latents with the shapes of training, without data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.stages.work import Batch

Widths = tuple[int | None, int, int | None, int, int]
"""Of the vector, number of tokens, of the tokens, numbers at each latent token and of each frame; None and 0: none."""


def latent_batches(
    shape: LatentShape, features: Mapping[str, Widths], classes: Sequence[str]
) -> Callable[[int], Batch]:
    """Batches of latents (T, C) with features of every source, like stored features."""

    def batch(size: int) -> Batch:
        encoded = {
            name: Features(
                torch.rand(size, width).half() if width else None,
                torch.rand(size, length, token_width).half() if token_width else None,
                aligned=torch.rand(size, shape.tokens, aligned) if aligned else None,
                frames=torch.rand(size, (shape.grid or (1,))[0], numbers) if numbers else None,
            )
            for name, (width, length, token_width, aligned, numbers) in features.items()
        }
        return {"latent": torch.rand(size, *shape[:2]), "features": encoded, "class": list(classes[:1]) * size}

    return batch


def feature_widths(conditioner: Conditioner, text_tokens: int) -> dict[str, Widths]:
    """Width of the features of each source's frozen encoder."""
    return {
        name: (
            source.vector_width,
            text_tokens if source.token_count is None else source.token_count,
            source.token_width,
            source.aligned_channels,
            source.frame_numbers,
        )
        for name, source in conditioner.sources.items()
    }
