"""What a stage does over and over, described before it runs: for plan and rehearsal, on tensors without values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.nn.latent_shape import LatentShape

Batch = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a training before it runs, passed from stage to stage by plan and rehearsal.

    latent_shape: of the latents so far. classes: names in the data, or placeholders. text_tokens: of a caption.
    samples, shards: of the training split, None where the data are not on this machine.
    """

    latent_shape: LatentShape | None = None
    classes: tuple[str, ...] = ("?", "!")
    text_tokens: int = 8
    samples: int | None = None
    shards: int | None = None


@dataclass(frozen=True)
class Step:
    """A training step, built on tensors without values.

    Args:
        module: builds the module.
        batch: number of samples → batch.
        blocks: configuration blocks of network and batch; the first is the network's.
        data: the block of the data module.
        shards: the shards of the data, None where they are not known.
        notes: parts that a plan leaves out.
    """

    module: Callable[[], pl.LightningModule]
    batch: Callable[[int], Batch]
    blocks: tuple[str, ...]
    data: str
    shards: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoding:
    """Encoding of every sample once, built on tensors without values: the autoencoder, and a batch of one sample."""

    autoencoder: Callable[[], Autoencoder]
    example: Callable[[], Mapping[str, Tensor]]
