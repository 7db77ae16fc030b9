"""Quality over the time of a training, whose clock stands still while it is measured."""

import csv
import statistics
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
import torch

from fieldforge.data.heldout import HeldOut
from fieldforge.data.shape_transforms import Distances, Surface
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Transform
from fieldforge.evaluation.beside_nearest import NearestReconstructions
from fieldforge.evaluation.prompt_following import PromptJudge
from fieldforge.evaluation.questions import questions_for
from fieldforge.evaluation.settings import PromptSettings
from fieldforge.metrics.reconstruction import volume_iou
from fieldforge.stages.denoiser_parts import build_generator
from fieldforge.stages.measures_of_samples import MeasuresOfSamples
from fieldforge.stages.sample_judge import SampleJudge, stored_samples
from fieldforge.training.callbacks.context import Watcher
from fieldforge.training.callbacks.steps import StepCallback
from fieldforge.training.modules.autoencoder_module import AutoencoderModule
from fieldforge.training.modules.conditional_module import ConditionalModule


class QualityClock(StepCallback, Watcher):
    """Adds a row to `quality.csv` of the run every so many minutes: minutes, step, two measures of the average.

    Args:
        every_minutes: of the budget's clock.
    """

    def __init__(self, every_minutes: float):
        self.every_seconds = self.due = 60 * every_minutes

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        clock = self.context.clock
        if clock.seconds < self.due or not self.measures(pl_module):
            return
        minutes, before = clock.seconds / 60, time.process_time()
        self.due = self.every_seconds * (clock.seconds // self.every_seconds + 1)
        values: list[float] = []
        self.context.ema.show(pl_module, lambda module: values.extend(self.values(module)))
        with open(self.context.run / "quality.csv", "a", newline="") as file:
            csv.writer(file).writerow([f"{value:.4f}" for value in (minutes, trainer.global_step, *values)])
        assert clock._since is not None
        clock._since += time.process_time() - before

    def measures(self, module: pl.LightningModule) -> bool:
        """Whether it measures trainings of that kind."""
        raise NotImplementedError

    def values(self, module: pl.LightningModule) -> Sequence[float]:
        """Two measures of the module, which has its averaged weights."""
        raise NotImplementedError


class HeldOutIoU(QualityClock):
    """Mean and median IoU of held-out assets, for autoencoders.

    Args:
        root: folder of shape shards.
        limit: held-out assets.
        points: that the autoencoder sees of each.
    """

    def __init__(self, root: str, every_minutes: float = 2.0, limit: int = 32, points: int = 8192):
        super().__init__(every_minutes)
        transforms: list[Transform] = [Surface(points), Distances(near=1, volume=20_000)]
        shards = open_shards(root, "heldout")
        self.batches = list(HeldOut(shards, transforms, seed=0, batch_size=1, limit=limit))

    def measures(self, module: pl.LightningModule) -> bool:
        return isinstance(module, AutoencoderModule)

    @torch.no_grad()
    def values(self, module: pl.LightningModule) -> Sequence[float]:
        assert isinstance(module, AutoencoderModule)
        values, autoencoder = [], module.autoencoder
        for batch in self.batches:
            params = autoencoder.decode(autoencoder.encode(batch))
            sdf = autoencoder.field.query(batch["volume_points"], params)["sdf"][0]
            values.append(volume_iou(sdf.numpy(), batch["volume_sdf"][0].numpy()))
        return statistics.fmean(values), statistics.median(values)


class PromptAgreement(QualityClock):
    """Agreement of names and of classes, for diffusion models that read texts: one sample of each prompt, guidance 3.

    Args:
        count: prompts, the most frequent names.
    """

    def __init__(self, every_minutes: float = 4.0, count: int = 24):
        super().__init__(every_minutes)
        self.settings = PromptSettings(
            file=None,
            count=count,
            seeds=[0],
            guidance=[3.0],
            judged_guidance=3.0,
            steps=None,
            resolution=64,
            picture_size=64,
            batch_size=12,
        )

    def measures(self, module: pl.LightningModule) -> bool:
        return isinstance(module, ConditionalModule)

    @torch.no_grad()
    def values(self, module: pl.LightningModule) -> Sequence[float]:
        assert isinstance(module, ConditionalModule)
        measure, (metas, signatures) = self._measure, self._training
        generator = build_generator(measure.config, module.model, module.conditioner, measure.autoencoder.latent_shape)
        beside = NearestReconstructions(measure.autoencoder, measure.domain, "", self.settings.resolution)
        samples = SampleJudge(measure.domain, metas, signatures, {})
        judge = PromptJudge(generator, measure.autoencoder, self.settings, samples, beside)
        questions = questions_for(metas, generator.keys, self.settings.count, None)
        figures = judge.agreements(questions, samples.measure(questions, judge.outputs(questions, 3.0)).nearest)
        return figures["name"]["share"], figures["class"]["share"]

    @property
    def _measure(self) -> MeasuresOfSamples:
        measure = self.context.measure
        assert isinstance(measure, MeasuresOfSamples)
        return measure

    @cached_property
    def _training(self) -> tuple[list[dict[str, Any]], list[Any]]:
        return stored_samples(self._measure.domain, self._measure.config.data.root)
