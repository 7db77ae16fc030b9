"""The plan of a stage that takes steps, from its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from fieldforge.configuration.build import build
from fieldforge.configuration.settings import read_settings
from fieldforge.data.loader_workers import MOST
from fieldforge.data.order import Mixing
from fieldforge.planning.bill import Pauses, Sheet
from fieldforge.planning.cluster import Cluster
from fieldforge.planning.encoding_plan import EncodingPlan
from fieldforge.planning.estimate import DataSide, StagePlan
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.network_work import features_plan, sheet_of, statistics_plan
from fieldforge.planning.step import measure_step, unattended
from fieldforge.ranges import Count, Whole
from fieldforge.stages.stage import Stage, TrainedStage
from fieldforge.stages.training_run import StepSettings
from fieldforge.stages.work import Sizes, Step
from fieldforge.training.callbacks.checkpointer import Checkpointer
from fieldforge.training.callbacks.picture_log import Pictures
from fieldforge.training.processes.hardware import Hardware

COUNTED = {"throughput", "checkpoints", "recovery", "pictures", "progress"}
"""The callbacks whose time a plan counts, or that take none."""


@dataclass(frozen=True)
class LoaderSettings:
    """The settings of a data module that a plan reads, see `ShardDataModule`."""

    num_workers: Whole | Literal["auto"]
    heldout_batch_size: Count | None
    mixing: Mixing

    def workers(self, kind: str) -> int:
        """Those of a device's process; of a GPU on a machine with many cores, where their number is open."""
        if self.num_workers == "auto":
            return MOST if kind == "GPU" else 1
        return self.num_workers


@dataclass(frozen=True)
class StepPlanner:
    """Plans one stage that takes steps: `step`, with data of these sizes, on a cluster."""

    trainer: Hardware
    cluster: Cluster
    stage: Stage
    step: Step
    sizes: Sizes

    @cached_property
    def settings(self) -> StepSettings:
        assert self.stage.training is not None
        return StepSettings.of(self.stage.config, self.stage.training)

    @cached_property
    def loader(self) -> LoaderSettings:
        return read_settings(self.stage.config, LoaderSettings, self.step.data)

    @property
    def per_device(self) -> int:
        """Samples of a batch on a device."""
        return -(-self.settings.batch_size // (self.cluster.world * self.trainer.accumulate))

    @property
    def heldout(self) -> int:
        """Samples of a held-out batch on a device."""
        return max(1, (self.loader.heldout_batch_size or self.settings.batch_size) // self.cluster.world)

    def plan(self) -> StagePlan:
        budget, accumulate = self.settings.budget, self.trainer.accumulate
        cost = measure_step(
            self.module,
            lambda: self.step.batch(self.per_device),
            lambda: self.step.batch(self.heldout),
            self.settings.ema.decay,
            bfloat16="mixed" in self.cluster.precision,
            gpu=self.cluster.kind == "GPU",
            checkpointing=self.trainer.checkpointing,
        )
        mixing, workers = self.loader.mixing, self.loader.workers(self.cluster.kind)
        return StagePlan(
            self.stage.name,
            cost,
            self.per_device * accumulate * self.cluster.world,
            self.settings.batch_size,
            budget.max_steps,
            budget.max_minutes,
            budget.min_steps,
            DataSide(
                self.step.shards, self.sizes.samples, mixing.slots, workers, self.step.sample_bytes, self.step.data
            ),
            (*self.step.notes, *self.notes),
            accumulate,
            self.pauses(),
            self.statistics,
        )

    def module(self) -> pl.LightningModule:
        """The module as it is trained. Called where tensors have no values."""
        built = self.step.module()
        if isinstance(self.stage, TrainedStage):
            self.stage.restrict(built)
        return built

    @property
    def statistics(self) -> EncodingPlan | None:
        """The measurement of the latents after the training; None where there is none."""
        if self.step.statistics is None:
            return None
        return statistics_plan(self.step, self.stage.encoding.batch_size, self.sizes.samples)

    @cached_property
    def features(self) -> dict[str, EncodingPlan | None]:
        """Source → the plan of its features before the training; None where its encoder is not here."""
        samples, read = self.sizes.stored, self.sizes.sample_bytes
        return {one.source: features_plan(one, samples, read) for one in self.step.embeddings}

    @property
    def notes(self) -> list[str]:
        """What takes a time that is not known."""
        absent = [name for name, plan in self.features.items() if plan is None]
        strange = [str(name) for name, block in self.callbacks.items() if block is not None and name not in COUNTED]
        return [
            *(f"the features of {name!r} are not counted: their encoder is not on this machine" for name in absent),
            *(f"callbacks.{name} is not counted" for name in strange),
        ]

    @property
    def callbacks(self) -> DictConfig:
        blocks = self.stage.config.callbacks
        assert isinstance(blocks, DictConfig)
        return blocks

    def callback(self, name: str) -> Any:
        """A callback of the training by its name; None where it is left out."""
        chosen = OmegaConf.select(self.callbacks, name)
        return None if chosen is None else build(self.stage.config, f"callbacks.{name}")

    def pauses(self) -> Pauses:
        """What interrupts the steps."""
        monitor = self.stage.settings.monitor
        pictures, checkpoints = self.callback("pictures"), self.callback("checkpoints")
        draws = isinstance(pictures, Pictures) and self.step.drawing is not None
        saves = isinstance(checkpoints, Checkpointer)
        return Pauses(
            validate_every=monitor.validate_every,
            heldout_batches=self.heldout_batches(monitor.validation_batches),
            sheet=self.sheet() if draws else None,
            picture_seconds=pictures.every_seconds if draws else None,
            checkpoint_seconds=checkpoints.every_seconds if saves else None,
            checkpoint_steps=checkpoints.every_steps if saves else None,
        )

    def heldout_batches(self, most: int) -> float:
        """Batches of a validation on each device, of which there are no more than held-out samples."""
        if self.sizes.heldout is None:
            return most
        own = -(-self.sizes.heldout // self.cluster.world)
        return min(most, own / self.heldout)

    def sheet(self) -> Sheet:
        """The sheet of pictures that the stage draws."""
        assert self.step.drawing is not None
        with without_values():
            return sheet_of(self.step.drawing, unattended(self.module()), self.cluster.kind == "GPU")
