"""Measures of an autoencoder's reconstructions during training: those of evaluations, of a few samples."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pytorch_lightning as pl
from omegaconf import DictConfig

from fieldforge.configuration.build import build
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.heldout import HeldOut
from fieldforge.data.transforms import Meta, Transform
from fieldforge.domains.domain import Domain
from fieldforge.training.callbacks.context import Sampling
from fieldforge.training.modules.autoencoder_module import AutoencoderModule


class MeasuresOfReconstructions:
    """The `Measure` of an autoencoder: the domain's measures of the first samples, in the mean.

    Args:
        config: of the training.
        data: its samples.
    """

    def __init__(self, config: DictConfig, data: ShardDataModule):
        self.data = data
        self.domain: Domain = build(config, "domain")
        self._samples: list[dict[str, Any]] = []

    def prepare(self, sampling: Sampling) -> None:
        """Reads the samples with their truth, a batch each."""
        split = self.data.train_split if sampling.split == "train" else self.data.shown_split
        transforms: list[Transform] = [*self.domain.input_transforms(), *self.domain.truth_transforms(), Meta()]
        shards = self.data.shards(split)
        self._samples = list(HeldOut(shards, transforms, seed=0, batch_size=1, limit=sampling.count))

    def __call__(self, module: pl.LightningModule, sampling: Sampling) -> dict[str, float]:
        assert isinstance(module, AutoencoderModule)
        rows = []
        for batch in self._samples:
            output = self.domain.reconstruct(module.autoencoder, batch, sampling.resolution)
            rows.append(self.domain.measure(output, batch))
        values = {name: np.array([row[name] for row in rows]) for name in rows[0] if name not in self._of_truth}
        return {name: float(each[np.isfinite(each)].mean()) for name, each in values.items() if np.isfinite(each).any()}

    @cached_property
    def _of_truth(self) -> set[str]:
        """Measures that no training changes."""
        return set(self.domain.quarters_by)
