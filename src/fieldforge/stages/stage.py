"""The interface of a stage, and the loop of stages that take training steps.

A stage is built from the configuration alone, without side effects: its `work` describes it for plan and rehearsal.
`run` then takes the results of the earlier stages.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import nn

from fieldforge.configuration.build import build
from fieldforge.configuration.settings import read_settings
from fieldforge.configuration.stored_config import Labelled
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.stages.continuation import stage_directory
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.initial_weights import InitialWeights, freeze
from fieldforge.stages.settings import EncodingSettings, PictureSettings, RunSettings
from fieldforge.stages.training_run import StepSettings, plain, train
from fieldforge.stages.untrained import training_label, warn_if_untrained
from fieldforge.stages.work import Encoding, Sizes, Step
from fieldforge.storage.lock import scope
from fieldforge.sweeps.job import is_trial
from fieldforge.terminal import status
from fieldforge.training.callbacks.context import Draw, Measure
from fieldforge.training.processes import ranks
from fieldforge.training.processes.hardware import Hardware

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageResult:
    """The result of a stage: its directory, or for latents the folder `path` of their shards."""

    name: str
    path: Path
    directory: StageDirectory | None = None

    @property
    def run(self) -> StageDirectory:
        """The directory of a stage that takes steps."""
        assert self.directory is not None, f"{self.name} is no trained stage"
        return self.directory


Results = Mapping[str, StageResult]
"""Kind → the last stage of that kind, in the order of the training."""


NOISY_LATENTS = ("latent_data", "process", "density")
"""The blocks of whatever is trained on latents under noise."""


class Stage(Labelled, ABC):
    """A part of a training.

    needs: kinds of stages that must come before it. blocks: dotted paths of the configuration blocks that it reads
    besides those of every training; `configs/stage/` defines them.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    blocks: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: DictConfig, name: str | None = None):
        self.config, self.name = config, name or self.kind
        self.settings = read_settings(config, RunSettings)
        self.place = ""  # among the stages of a training, such as "stage 2 of 3"
        self.continues = False  # whether one of its kind is before it, whose weights it starts from

    @property
    def title(self) -> str:
        """The stage's name in progress lines."""
        return f"{self.place}, {self.name}" if self.place else self.name

    @property
    def training(self) -> str | None:
        """Its block of `training`; None where it takes no steps."""
        return None

    @property
    def device(self) -> torch.device:
        """The device of this process for work outside of training steps."""
        hardware: Hardware = build(self.config, "trainer")
        return hardware.device

    @property
    def encoding(self) -> EncodingSettings:
        """Settings of encodings outside of training steps. UserError for a mistake; names the key."""
        return read_settings(self.config, EncodingSettings, "training.latents")

    @abstractmethod
    def run(self, results: Results) -> StageResult:
        """Reuse, resume or start it. Raises UserError for a mistake, Interrupted where a signal stopped it."""

    def after(self, sizes: Sizes) -> Sizes:
        """The sizes after this stage."""
        return sizes

    def work(self, sizes: Sizes) -> Step | Encoding | None:
        """The stage's repeated work; None where it uses a result of another run.

        Called where tensors have values. The methods of the result, and `after`, are called where tensors have none.
        """
        return None

    def check(self) -> None:
        """Checks before the first stage. UserError for the first mistake; it names the key."""
        return None


@dataclass(frozen=True)
class Saved:
    """The content of a finished model's file: weights, and further entries of its label."""

    weights: Mapping[str, Any]
    label: Mapping[str, Any] = field(default_factory=dict)


class TrainedStage(Stage):
    """A stage that takes training steps and ends in a model.

    `run` calls the methods of a subclass in this order: `prepare`, `determining`; and unless a finished model exists:
    `begin`, `module`, `data`, `pictures`, `measure`, `complete`, `finish`.
    """

    run_name: ClassVar[str] = "name"
    """The key that names the folder of its runs below `output_dir`."""
    label_name: str = ""
    """What the log calls it; its name where this is empty."""

    def __init__(self, config: DictConfig, name: str | None = None):
        super().__init__(config, name)
        self.start = InitialWeights.of(config, type(self))

    @property
    def training(self) -> str | None:
        return self.kind

    @property
    def key(self) -> str:
        return f"training.{self.kind}"

    def has_start(self, module: pl.LightningModule) -> bool:
        """Whether all its weights come from another model."""
        return self.start is not None and self.start.is_whole(self.model(module))

    @property
    def seed(self) -> int:
        return self.settings.seed

    @cached_property
    def steps(self) -> StepSettings:
        return StepSettings.of(self.config, self.kind)

    @property
    def batch_size(self) -> int:
        return self.steps.batch_size

    @property
    def sheet(self) -> PictureSettings:
        """The settings of its pictures, for stages with the block `monitor.pictures`."""
        assert self.settings.monitor.pictures is not None, f"{self.kind} draws no pictures"
        return self.settings.monitor.pictures

    def prepare(self, results: Results) -> None:
        """Prepares the inputs of `determining`: results of earlier stages, data. In all processes alike."""

    @abstractmethod
    def determining(self) -> dict[str, Any]:
        """Values that determine the result besides stage, seed and `training.<kind>`, without hardware and logging."""

    def begin(self, directory: StageDirectory) -> None:
        """Sets up the inputs of the first step. In all processes alike."""

    @abstractmethod
    def data(self) -> ShardDataModule:
        """The data module."""

    @abstractmethod
    def module(self) -> pl.LightningModule:
        """The Lightning module."""

    def model(self, module: pl.LightningModule) -> nn.Module:
        """The part of the module whose weights the model's file holds."""
        return module

    def first_module(self) -> pl.LightningModule:
        """The module at the start of training, with its initial weights and frozen parameters."""
        module = self.module()
        if self.start is not None:
            self.start.load(self.model(module))
        self.restrict(module)
        return module

    def check_module(self, module: pl.LightningModule) -> None:
        """UserError where the configuration's start is impossible; the module's tensors may have no values."""
        if self.start is not None:
            self.start.check(self.model(module))
        self.restrict(module)

    def restrict(self, module: pl.LightningModule) -> None:
        """Freeze what the configuration does not let the stage train. UserError for names that fit nothing."""
        freeze(self.model(module), self.settings.frozen)

    def pictures(self) -> Draw | None:
        """Draws the model's outputs during training."""
        return None

    def measure(self) -> Measure | None:
        """Measures the model's samples during training."""
        return None

    def complete(self, trained: pl.LightningModule) -> None:
        """Measures what the finished model needs besides its weights. In all processes alike."""

    @abstractmethod
    def finish(self, trained: pl.LightningModule, directory: StageDirectory) -> Saved:
        """The content of the model's file. In the first process alone."""

    def whole_identity(self) -> dict[str, Any]:
        """All values that determine the result."""
        identity = {"stage": self.kind, "seed": self.seed, "training": plain(self.config.training[self.kind])}
        if self.name != self.kind:
            identity["phase"] = self.name
        if self.start is not None:
            identity["init_from"] = self.start.fingerprint
        if self.settings.frozen:
            identity["frozen"] = list(self.settings.frozen)
        return identity | self.determining()

    @scope()
    def run(self, results: Results) -> StageResult:
        if self.start is None and self.kind in results:
            self.start = InitialWeights.of_run(results[self.kind].run, type(self))
        self.prepare(results)
        config, called = plain(self.config), self.label_name or self.name
        place = Path(self.settings.output_dir) / getattr(self.settings, self.run_name)
        budget, choice = self.steps.budget, self.settings.continue_from
        directory = stage_directory(choice, self.kind, place, self.whole_identity(), budget, is_trial(self.config))
        if directory.finished:
            log.info("%s: finished already, reused from %s", called, directory.path)
            return StageResult(self.name, directory.path, directory)
        ranks.first_alone(lambda: directory.open(config))
        log.info("%s: in %s", called, directory.path)
        self.begin(directory)
        module = self.first_module()
        has_start = self.has_start(module)
        watched = self.pictures(), self.measure(), self.place
        training = train(self.config, self.settings.monitor, directory, module, self.data(), *watched)
        label = training_label(budget, training.steps, has_start)

        def save() -> None:
            status(f"{called}: saves its model")
            saved = self.finish(training.module, directory)
            directory.save_model(saved.weights, config, **label, **saved.label)
            status("")
            warn_if_untrained({"stage": self.kind, **label}, directory.path)

        try:
            self.complete(training.module)
            ranks.first_alone(save)
        except BaseException:
            training.close()
            raise
        training.close(directory.model)
        log.info("%s: finished, %s", called, directory.model)
        return StageResult(self.name, directory.path, directory)
