"""What a stage of a training is, and the one loop of those that take steps.

A stage is made from the configuration alone and touches nothing: it says what it is made of (`step`), so that it can be
planned and rehearsed. `run` is then given the results of the stages before it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
from omegaconf import DictConfig
from torch import Tensor, nn

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.build import build
from fieldforge.configuration.stored_config import Labelled
from fieldforge.configuration.values import whole_number
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.stages.continuation import stage_directory
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.initial_weights import InitialWeights, freeze
from fieldforge.stages.training_run import plain, train
from fieldforge.stages.untrained import training_label, warn_if_untrained
from fieldforge.storage.lock import scope
from fieldforge.terminal import status
from fieldforge.training.callbacks.context import Draw, Measure
from fieldforge.training.processes import ranks

log = logging.getLogger(__name__)
Batch = dict[str, Any]


@dataclass(frozen=True)
class StageResult:
    """What a stage leaves: its directory, or for latents the folder `path` of their shards."""

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


@dataclass(frozen=True)
class Sizes:
    """Sizes of a training before it runs: handed from stage to stage when it is planned or rehearsed.

    latent_shape: of the latents so far. classes: names in the data, or stand-ins. text_tokens: of a caption.
    samples, shards: of the training split, None where the data are not here.
    """

    latent_shape: LatentShape | None = None
    classes: tuple[str, ...] = ("?", "!")
    text_tokens: int = 8
    samples: int | None = None
    shards: int | None = None


@dataclass(frozen=True)
class Step:
    """A training step, made where tensors have no values.

    Args:
        module: makes what takes it.
        batch: samples → batch of that size.
        blocks: of the configuration, that network and batch are made of; the first is the network's.
        data: the block of the data module that feeds it.
        shards: that it is fed from, None where that is not known.
        notes: what a plan leaves out.
    """

    module: Callable[[], pl.LightningModule]
    batch: Callable[[int], Batch]
    blocks: tuple[str, ...]
    data: str
    shards: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoding:
    """Encoding every sample once, made where tensors have no values: the autoencoder, and `input` (1, …)."""

    autoencoder: Callable[[], Autoencoder]
    example: Callable[[], Tensor]


NOISY_LATENTS = ("latent_data", "process", "density")
"""The blocks of whatever is trained on latents under noise."""


class Stage(Labelled, ABC):
    """A part of a training.

    needs: kinds that have to come before it. blocks: dotted paths of the configuration that it reads besides what every
    training has; `configs/stage/` brings them.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    blocks: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: DictConfig, name: str | None = None):
        self.config, self.name = config, name or self.kind
        self.place = ""  # among the stages of a training, such as "stage 2 of 3"
        self.continues = False  # whether one of its kind is before it, whose weights it starts from

    @property
    def title(self) -> str:
        """What progress calls it."""
        return f"{self.place}, {self.name}" if self.place else self.name

    @property
    def training(self) -> str | None:
        """Its block of `training`; None where it takes no steps."""
        return None

    @abstractmethod
    def run(self, results: Results) -> StageResult:
        """Reuse, resume or start it. Raises UserError for a mistake, Interrupted where a signal stopped it."""

    def after(self, sizes: Sizes) -> Sizes:
        """What is known once this stage is done."""
        return sizes

    def work(self, sizes: Sizes) -> Step | Encoding | None:
        """What it does again and again; None where it does nothing, as a result of another run is used.

        Called where tensors have values; what the answer makes, and `after`, where they have none.
        """
        return None

    def check(self) -> None:
        """What can be known before the first stage. UserError for the first mistake; names the key."""
        return None


@dataclass(frozen=True)
class Saved:
    """What a finished model's file holds: weights, and what its label carries besides."""

    weights: Mapping[str, Any]
    label: Mapping[str, Any] = field(default_factory=dict)


class TrainedStage(Stage):
    """A stage that takes steps and ends in a model.

    Subclasses are asked in this order: `prepare`, `determining`; and unless a finished model is there already: `begin`,
    `module`, `data`, `pictures`, `measure`, `finish`.
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
        return whole_number(self.config, "seed", least=0)

    @property
    def batch_size(self) -> int:
        return whole_number(self.config, f"{self.key}.batch_size")

    def prepare(self, results: Results) -> None:
        """What `determining` depends on: results of earlier stages, data. In all processes alike."""

    @abstractmethod
    def determining(self) -> dict[str, Any]:
        """What the result depends on besides stage, seed and `training.<kind>`: not hardware, not logging."""

    def begin(self, directory: StageDirectory) -> None:
        """What has to be there before the first step. In all processes alike."""

    @abstractmethod
    def data(self) -> ShardDataModule:
        """Where batches come from."""

    @abstractmethod
    def module(self) -> pl.LightningModule:
        """What is trained, and how."""

    def model(self, module: pl.LightningModule) -> nn.Module:
        """The part of the module whose weights the model's file holds."""
        return module

    def first_module(self) -> pl.LightningModule:
        """The module as its training begins: with the weights that it starts from, and what is frozen."""
        module = self.module()
        if self.start is not None:
            self.start.load(self.model(module))
        freeze(self.model(module), list(self.config.frozen))
        return module

    def check_module(self, module: pl.LightningModule) -> None:
        """UserError where it cannot begin as the configuration says; the module's tensors may have no values."""
        if self.start is not None:
            self.start.check(self.model(module))
        freeze(self.model(module), list(self.config.frozen))

    def pictures(self) -> Draw | None:
        """Draws what the model makes while it trains."""
        return None

    def measure(self) -> Measure | None:
        """Measures what the model makes while it trains."""
        return None

    @abstractmethod
    def finish(self, trained: pl.LightningModule, directory: StageDirectory) -> Saved:
        """The model's file. In the first process alone."""

    def whole_identity(self) -> dict[str, Any]:
        """All that determines the result."""
        identity = {"stage": self.kind, "seed": self.config.seed, "training": plain(self.config.training[self.kind])}
        if self.name != self.kind:
            identity["phase"] = self.name
        if self.start is not None:
            identity["init_from"] = self.start.fingerprint
        if self.config.frozen:
            identity["frozen"] = list(self.config.frozen)
        return identity | self.determining()

    @scope()
    def run(self, results: Results) -> StageResult:
        if self.start is None and self.kind in results:
            self.start = InitialWeights.of_run(results[self.kind].run, type(self))
        self.prepare(results)
        config, called = plain(self.config), self.label_name or self.name
        place = Path(self.config.output_dir) / str(self.config[self.run_name])
        budget = build(self.config, f"{self.key}.budget")
        directory = stage_directory(self.config, self.kind, place, self.whole_identity(), budget)
        if directory.finished:
            log.info("%s: finished already, reused from %s", called, directory.path)
            return StageResult(self.name, directory.path, directory)
        ranks.first_alone(lambda: directory.open(config))
        log.info("%s: in %s", called, directory.path)
        self.begin(directory)
        module = self.first_module()
        has_start = self.has_start(module)
        training = train(self.config, directory, module, self.data(), self.pictures(), self.measure(), self.place)
        label = training_label(budget, training.steps, has_start)

        def save() -> None:
            status(f"{called}: saves its model")
            saved = self.finish(training.module, directory)
            directory.save_model(saved.weights, config, **label, **saved.label)
            status("")
            warn_if_untrained({"stage": self.kind, **label}, directory.path)

        ranks.first_alone(save)
        log.info("%s: finished, %s", called, directory.model)
        return StageResult(self.name, directory.path, directory)
