"""Measures of a diffusion model's samples against its training samples, during training."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.build import build
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta, Transform
from fieldforge.domains.domain import Domain
from fieldforge.generation import Generator
from fieldforge.metrics.agreement import agreement
from fieldforge.stages.conditions import conditions, from_samples, latent_conditions, reads_latents
from fieldforge.stages.denoiser_parts import build_generator
from fieldforge.training.callbacks.context import Sampling
from fieldforge.training.modules.conditional_module import ConditionalModule


class MeasuresOfSamples:
    """The `Measure` of a diffusion model's samples.

    `retrieval`: the share of samples whose nearest training sample has the prompted name (for a model that reads
    classes alone, the class). Further numbers are the domain's measures of sets.

    Args:
        config: of the training.
        data: latents with their captions and classes.
        autoencoder: of the latents.
    """

    def __init__(self, config: DictConfig, data: ShardDataModule, autoencoder: Autoencoder):
        self.config, self.data, self.autoencoder = config, data, autoencoder
        self.domain: Domain = build(config, "domain")

    def prepare(self) -> None:
        """Reads the training samples."""
        assert self._training

    def __call__(self, module: pl.LightningModule, sampling: Sampling) -> dict[str, float]:
        assert isinstance(module, ConditionalModule)
        quick = OmegaConf.merge(self.config, {"sampler": {"steps": sampling.steps}})
        assert isinstance(quick, DictConfig)
        generator = build_generator(quick, module.model, module.conditioner, self.autoencoder.latent_shape)
        batch = self._asked(generator, sampling.count)
        autoencoder, signatures = self.autoencoder.to(module.device), list[np.ndarray]()
        for start in range(0, len(batch["meta"]), sampling.at_a_time):
            part = slice(start, start + sampling.at_a_time)
            some = {key: batch[key][part] for key in generator.keys if key in batch}
            some["features"] = {name: each.rows(part) for name, each in batch.get("features", {}).items()}
            seeds = list(range(len(batch["meta"])))[part]
            outputs = self.domain.decode(autoencoder, generator(some, seeds, sampling.scale))
            signatures += self.domain.signatures(outputs)
        metas, truth = self._training
        label = "class" if generator.keys == {"class"} else "name"
        nearest = self.domain.nearest(signatures, truth)
        figures = agreement(nearest, [meta[label] for meta in batch["meta"]], [meta[label] for meta in metas])
        return {"retrieval": figures.share, **self.domain.compare_sets(signatures, truth)}

    def _asked(self, generator: Generator, count: int) -> dict[str, Any]:
        """What the generator reads of the first training samples, with `meta`."""
        split = self.data.train_split
        if reads_latents(generator.conditioner):
            return latent_conditions(self.data, generator.conditioner, split, count)
        shards = open_shards(self.config.data.root, split) if "image" in generator.keys else self.data.shards(split)
        return conditions(self.domain, shards, generator.keys, count, from_samples(self.data))

    @cached_property
    def _training(self) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
        return stored_samples(self.domain, self.config.data.root)


def stored_samples(domain: Domain, root: Any, split: str = "train") -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Metadata and signature of every sample of a split."""
    metas, signatures = [], []
    transforms: list[Transform] = [*domain.input_transforms(), Meta()]
    for batch in HeldOut(open_shards(root, split), transforms, seed=0, batch_size=16):
        metas += batch["meta"]
        signatures += domain.stored_signatures(batch)
    return metas, signatures
