"""Measures of a diffusion model's samples during training, by the judge of evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.condition import Condition
from fieldforge.configuration.build import build
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.shards import open_shards
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.domains.domain import Domain, Outputs
from fieldforge.generation import Generator
from fieldforge.stages.conditions import conditions, from_samples, latent_conditions, reads_latents
from fieldforge.stages.denoiser_parts import build_generator
from fieldforge.stages.sample_judge import SampleJudge
from fieldforge.training.callbacks.context import Sampling
from fieldforge.training.modules.conditional_module import ConditionalModule

LEVELS = {"denoising_error_fine": 4.0, "denoising_error_middle": 0.0, "denoising_error_coarse": -4.0}
"""Measure → log-SNR at which a denoiser is measured: the same noise for every process."""


@dataclass(frozen=True)
class Labels:
    """The name and the class of a sample that is asked for; None: not judged."""

    name: str | None
    kind: str | None


class MeasuresOfSamples:
    """The `Measure` of a diffusion model: its samples (`SampleJudge`), and the errors of its denoiser.

    Args:
        config: of the training.
        data: latents with their captions and classes.
        autoencoder: of the latents.
    """

    def __init__(self, config: DictConfig, data: ShardDataModule, autoencoder: Autoencoder):
        self.config, self.data, self.autoencoder = config, data, autoencoder
        self.domain: Domain = build(config, "domain")

    def prepare(self, sampling: Sampling) -> None:
        """Reads the training samples."""
        assert self.judge.stored_distance is not None

    @cached_property
    def judge(self) -> SampleJudge:
        return SampleJudge.of(self.domain, self.config.data.root)

    def __call__(self, module: pl.LightningModule, sampling: Sampling) -> dict[str, float]:
        assert isinstance(module, ConditionalModule)
        quick = OmegaConf.merge(self.config, {"sampler": {"steps": sampling.steps}})
        assert isinstance(quick, DictConfig)
        generator = build_generator(quick, module.model, module.conditioner, self.autoencoder.latent_shape)
        batch = self._asked(generator, sampling)
        outputs = self._outputs(generator, batch, sampling)
        asked = [self._labels(meta, generator.keys) for meta in batch["meta"]]
        measured = self.judge.measure(asked, outputs, ["train"])
        rows = {name: values[np.isfinite(values)] for name, values in measured.rows.items()}
        means = {name: float(values.mean()) for name, values in rows.items() if len(values)}
        return {**means, **measured.sets.get("train", {}), **self._errors(generator, sampling)}

    def _outputs(self, generator: Generator, batch: Mapping[str, Any], sampling: Sampling) -> list[Outputs]:
        """A sample for each condition; sample i has seed i."""
        autoencoder, outputs = self.autoencoder.to(generator.device), list[Outputs]()
        for start in range(0, len(batch["meta"]), sampling.at_a_time):
            part = slice(start, start + sampling.at_a_time)
            some = {key: batch[key][part] for key in generator.keys if key in batch}
            some["features"] = {name: each.rows(part) for name, each in batch.get("features", {}).items()}
            seeds = list(range(len(batch["meta"])))[part]
            decoded = self.domain.decode(autoencoder, generator(some, seeds, sampling.scale), sampling.resolution)
            outputs += [decoded[index] for index in range(len(decoded))]
        return outputs

    def _labels(self, meta: Mapping[str, Any], keys: set[str]) -> Labels:
        """What a sample is judged by: the labels that training samples bear too."""
        name, kind = meta["name"].lower(), meta["class"]
        return Labels(
            name if name in self._names and keys != {"class"} else None, kind if kind in self._kinds else None
        )

    def _errors(self, generator: Generator, sampling: Sampling) -> dict[str, float]:
        """Mean squared errors of denoised latents, whose variance is 1, at fixed noise."""
        split = self._split(sampling)
        batch = latent_conditions(self.data, generator.conditioner, split, sampling.count)
        latents = batch["latent"].to(generator.device)
        condition = generator.steering(batch, len(latents), 1.0).condition
        return denoising_errors(generator.model, latents, condition)

    def _asked(self, generator: Generator, sampling: Sampling) -> dict[str, Any]:
        """What the generator reads of the first samples of a split, with `meta`."""
        split, count = self._split(sampling), sampling.count
        if reads_latents(generator.conditioner):
            return latent_conditions(self.data, generator.conditioner, split, count)
        shards = open_shards(self.config.data.root, split) if "image" in generator.keys else self.data.shards(split)
        return conditions(self.domain, shards, generator.keys, count, from_samples(self.data))

    def _split(self, sampling: Sampling) -> str:
        return self.data.train_split if sampling.split == "train" else self.data.shown_split

    @cached_property
    def _names(self) -> set[str]:
        return {meta["name"].lower() for meta in self.judge.metas}

    @cached_property
    def _kinds(self) -> set[str]:
        return {meta["class"] for meta in self.judge.metas}


@torch.no_grad()
def denoising_errors(model: DiffusionModel, latents: Tensor, condition: Condition) -> dict[str, float]:
    """Mean squared error of the denoised estimate of latents (B, T, C) at each of `LEVELS`, always the same noise."""
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(latents)
    errors = {}
    for name, log_snr in LEVELS.items():
        t = model.process.time_of_log_snr(torch.full((len(latents),), log_snr, dtype=torch.float64))  # (B,)
        estimate = model(model.process.add_noise(latents, noise, t), t, condition)
        errors[name] = float((estimate - latents).square().mean())
    return errors
