"""What a stage does over and over, described before it runs: for plan and rehearsal, on tensors without values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.fields.base import Field, Params
from fieldforge.nn.latent_shape import LatentShape

Batch = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a training before it runs, passed from stage to stage by plan and rehearsal.

    latent_shape: of the latents so far. classes: names in the data, or placeholders. text_tokens: of a caption.
    samples, shards: of the training split, None where the data are not on this machine. heldout: samples of the
    held-out split, likewise. sample_bytes: of a stored sample, likewise. rows: captions, or views, of a sample.
    """

    latent_shape: LatentShape | None = None
    classes: tuple[str, ...] = ("?", "!")
    text_tokens: int = 8
    samples: int | None = None
    shards: int | None = None
    heldout: int | None = None
    sample_bytes: float | None = None
    rows: int = 1

    @property
    def stored(self) -> int | None:
        """Samples of all splits."""
        return None if self.samples is None else self.samples + (self.heldout or 0)


@dataclass(frozen=True)
class Encoding:
    """Encoding of every sample once, built on tensors without values.

    Args:
        autoencoder: builds it.
        example: a batch of one sample.
        written: bytes of a stored latent; 0: none is stored.
    """

    autoencoder: Callable[[], Autoencoder]
    example: Callable[[], Mapping[str, Tensor]]
    written: int = 0


@dataclass(frozen=True)
class Embedding:
    """Features of a source's frozen encoder for every sample, which are missing beside the data.

    Args:
        source: its name.
        load: loads the encoder. UserError where it is not on this machine.
        encode: runs it for one sample, where tensors have no values.
        written: bytes of the features of one sample.
    """

    source: str
    load: Callable[[], object]
    encode: Callable[[], object]
    written: int


@dataclass(frozen=True)
class Drawing:
    """A sheet of pictures, drawn during the training.

    Args:
        pictures: their number.
        points: of the field that each reads.
        decode: module → field, and the parameters of all pictures.
        evaluations, evaluate: of a denoiser for all pictures: their number, and one of them.
    """

    pictures: int
    points: int
    decode: Callable[[pl.LightningModule], tuple[Field, Params]]
    evaluations: int = 0
    evaluate: Callable[[pl.LightningModule], object] = lambda module: None


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
        sample_bytes: of a stored sample, None where they are not known.
        drawing: what is drawn at intervals.
        statistics: of all latents, measured after the last step where the autoencoder has `unit_variance`.
        embeddings: computed before the first step.
    """

    module: Callable[[], pl.LightningModule]
    batch: Callable[[int], Batch]
    blocks: tuple[str, ...]
    data: str
    shards: int | None = None
    notes: tuple[str, ...] = ()
    sample_bytes: float | None = None
    drawing: Drawing | None = None
    statistics: Encoding | None = None
    embeddings: tuple[Embedding, ...] = ()
