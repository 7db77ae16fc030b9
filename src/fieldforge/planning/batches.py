"""Batches of the shapes that training will see, without its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.transforms import apply_transforms
from fieldforge.geometry.camera import fibonacci_poses, framing_distance
from fieldforge.planning.step import Batch

MakeBatch = Callable[[int], Batch]  # samples → batch
Widths = tuple[int | None, int, int | None]  # of the vector, number of tokens, of the tokens; None: there is none


def surface_batches(data: ShardDataModule) -> MakeBatch:
    """Batches of the shapes that the data's transforms make, found by running them on an empty sample."""
    made = apply_transforms(empty_sample(), data.train_transforms, np.random.default_rng(0))
    shapes = {key: value.shape for key, value in made.items() if isinstance(value, np.ndarray)}
    return lambda size: {key: torch.rand(size, *shape) for key, shape in shapes.items()}


def empty_sample(points: int = 8, size: int = 16, fov_y: float = 0.7) -> dict[str, Any]:
    """A sample by the schema, of zeros, seen by one camera."""
    vectors = np.zeros((points, 3), np.float16)
    names = ("id", "name", "class", "source", "licence", "creator")
    return {
        "meta.json": {**dict.fromkeys(names, ""), "captions": ["a"], "captions_by_language": {}, "fov_y": fov_y},
        "surface_points.npy": vectors,
        "surface_normals.npy": vectors.astype(np.int8),
        "surface_colors.npy": vectors.astype(np.uint8),
        "surface_exposed.npy": np.ones(points, np.uint8),
        "near_points.npy": vectors,
        "near_sdf.npy": vectors[:, 0],
        "volume_points.npy": vectors,
        "volume_sdf.npy": vectors[:, 0],
        "cameras.npy": fibonacci_poses(1, framing_distance(fov_y, 1.5)).numpy(),
        "view_000.png": np.zeros((size, size, 4), np.uint8),
        "depth_000.png": np.zeros((size, size), np.uint16),
    }


def latent_batches(shape: tuple[int, int], features: Mapping[str, Widths], classes: Sequence[str]) -> MakeBatch:
    """Batches of latents (T, C) with features of every source, as if encoded ahead of time."""

    def made(size: int) -> Batch:
        encoded = {
            name: Features(
                torch.rand(size, width).half() if width else None,
                torch.rand(size, length, token_width).half() if token_width else None,
            )
            for name, (width, length, token_width) in features.items()
        }
        return {"latent": torch.rand(size, *shape), "features": encoded, "class": list(classes[:1]) * size}

    return made


def feature_widths(conditioner: Conditioner, text_tokens: int) -> dict[str, Widths]:
    """What each source's frozen encoder gives."""
    return {
        name: (
            input_width(source.vector_projection),
            text_tokens if source.positions is None else len(source.positions),
            input_width(source.token_projection),
        )
        for name, source in conditioner.sources.items()
    }


def input_width(projection: nn.Module | None) -> int | None:
    """Width that a source's projection reads."""
    if projection is None:
        return None
    return next(part.in_features for part in projection.modules() if isinstance(part, nn.Linear))
