"""A prior over image embeddings: it turns a prompt into the condition of a model that reads pictures.

As in DALL·E 2 (Ramesh et al. 2022, arXiv 2204.06125, section 2.2): a diffusion model, given text, generates the
embedding that an image encoder would give. Here the embedding is the latent, one token of F channels, so that the
latent diffusion trains and samples it as it does shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.stored import samples_of
from fieldforge.data.reader import LazySample
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.storage.store import MemberError

MEASURED = 20_000  # assets: enough for a mean and a deviation


class EmbeddingSpace(nn.Module):
    """Maps vectors of an image source (B, F) to latents (B, 1, F) of mean 0 and variance 1 per channel, and back.

    Args:
        mean, std: (F,) over the training set, kept as buffers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        assert mean.shape == std.shape, f"mean {tuple(mean.shape)} and std {tuple(std.shape)} differ"
        assert mean.ndim == 1, f"one mean for each channel, not {tuple(mean.shape)}"
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", std.float())

    @classmethod
    def measured(cls, folder: str | Path, split: str = "train") -> EmbeddingSpace:
        """Mean and deviation over stored vectors of a split's first 20,000 assets in `<data>/embeddings/<source>`.

        Raises UserError where the source stored no vectors.
        """
        count, total, squares = 0, 0.0, 0.0
        for sample in islice(samples_of(folder, split), MEASURED):
            vectors = _vectors(sample).astype(np.float64)  # (E, F)
            count, total, squares = count + len(vectors), total + vectors.sum(0), squares + (vectors**2).sum(0)
        mean = total / count  # (F,)
        variance = np.maximum(squares / count - mean**2, 0)
        # A channel that never changes has nothing to generate; its deviation only must not divide by zero.
        return cls(torch.from_numpy(mean), torch.from_numpy(np.sqrt(variance)).clamp(min=1e-4))

    @property
    def latent_shape(self) -> LatentShape:
        """One token of F channels."""
        return LatentShape(1, len(self.mean))

    def encode(self, vectors: Tensor) -> Tensor:
        """(B, F) → latents (B, 1, F)."""
        return ((vectors.float() - self.mean) / self.std)[:, None]

    def decode(self, latents: Tensor) -> Features:
        """Latents (B, 1, F) → features for an image source that offers its vector alone."""
        return Features(vector=(latents[:, 0] * self.std + self.mean).to(torch.float16))


class VectorLatent:
    """`latent (1, F)`: the normalised vector of one of the sample's views, read from the shards of an image source.

    Args:
        space: mean and deviation of the vectors.
    """

    def __init__(self, space: EmbeddingSpace) -> None:
        self.mean, self.std = space.mean.cpu().numpy(), space.std.cpu().numpy()

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        vectors = _vectors(sample)
        row = vectors[int(generator.integers(len(vectors)))].astype(np.float32)  # (F,)
        return {"latent": ((row - self.mean) / self.std)[None]}


def _vectors(sample: Mapping[str, Any]) -> np.ndarray:
    if "vector.npy" not in sample:
        where = f"{sample.shard}, sample '{sample.key}': " if isinstance(sample, LazySample) else ""
        raise MemberError(f"{where}holds no vectors, embed the source again with vector=true.")
    return sample["vector.npy"]
