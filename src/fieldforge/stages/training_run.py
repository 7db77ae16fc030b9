"""The training run of a stage: callbacks and loggers from the configuration, resume, and the trained module."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers.logger import Logger

from fieldforge.configuration.build import build
from fieldforge.configuration.settings import read_settings
from fieldforge.configuration.values import check_key
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.errors import UserError, memory_advice
from fieldforge.ranges import Count, Seed
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.settings import MonitorSettings
from fieldforge.training.callbacks import wandb_run
from fieldforge.training.callbacks.averaging import EMACallback
from fieldforge.training.callbacks.budget import Budget, BudgetCallback
from fieldforge.training.callbacks.context import Draw, LoggerChoice, Measure, TrainingContext, Watcher
from fieldforge.training.callbacks.gradient_guard import GradientGuard
from fieldforge.training.callbacks.metrics_table import MetricsTable
from fieldforge.training.callbacks.snapshots import Snapshots
from fieldforge.training.processes import ranks
from fieldforge.training.processes.checkpoints import find_last
from fieldforge.training.processes.hardware import Hardware, fit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """The result of a training: the module with its averaged weights, its number of steps, and its open loggers."""

    module: pl.LightningModule
    steps: int
    loggers: Sequence[Logger]

    def close(self, model: Path | None = None) -> None:
        """Close the loggers; those that take a finished model's file get it."""
        for logger in self.loggers:
            if model is not None and hasattr(logger, "log_model_file"):
                logger.log_model_file(model)
        wandb_run.finish()


@dataclass(frozen=True)
class StepSettings:
    """The steps of a stage, `training.<stage>`. Its optimiser is built later, with the parameters.

    Args:
        batch_size: samples of a step over all processes.
        budget: steps and minutes.
        ema: averages the weights.
        gradients: clips gradients and skips bad steps.
    """

    batch_size: Count
    budget: Budget
    ema: EMACallback
    gradients: GradientGuard

    @staticmethod
    def of(config: DictConfig, stage: str) -> StepSettings:
        """The settings of a stage, with new callbacks. UserError for a mistake; names the key."""
        return read_settings(config, StepSettings, f"training.{stage}")


def train(
    config: DictConfig,
    monitor: MonitorSettings,
    directory: StageDirectory,
    module: pl.LightningModule,
    data: ShardDataModule,
    draw: Draw | None,
    measure: Measure | None = None,
    place: str = "",
) -> Training:
    """Train `module` by `config.training.<stage>` to the end of its budget, from the last checkpoint in `directory`.

    The result holds the given module, or a whole copy where the module is sharded over processes. Its loggers are open.

    Raises:
        Interrupted: a signal stopped it; its state is saved.
    """
    context = training_context(config, directory, draw, measure, place)
    hardware: Hardware = build(config, "trainer")
    data.batch_size = hardware.share(context.batch_size)
    hardware.prepare(module)
    callbacks = [context.clock, context.ema, context.guard, *build_callbacks(config, context)]
    last = ranks.first_alone(lambda: last_checkpoint(directory) or end_of_earlier(directory))
    loggers = build_loggers(config, context)
    try:
        trainer = hardware.trainer(
            context.clock.budget.max_steps,
            callbacks,
            loggers,
            directory.path,
            log_every_n_steps=monitor.log_every,
            val_check_interval=monitor.validate_every * hardware.accumulate,
            limit_val_batches=validation_batches(monitor, context.stage, data),
        )
        with enough_memory(context.stage, context.batch_size), hardware.products():
            fit(trainer, module, data, Path(last) if last else None)
    except BaseException:
        wandb_run.finish()
        raise
    return Training(context.ema.finished(module), trainer.global_step, loggers)


def enough_memory(stage: str, batch_size: int) -> AbstractContextManager[None]:
    """`memory_advice` for the steps of a stage."""
    return memory_advice(
        f"{stage}: a step of training.{stage}.batch_size={batch_size}",
        "raise trainer.accumulate, set trainer.checkpointing=true, or lower the batch size, which starts another run",
    )


def training_context(
    config: DictConfig,
    directory: StageDirectory,
    draw: Draw | None = None,
    measure: Measure | None = None,
    place: str = "",
) -> TrainingContext:
    """The training context of a stage in its directory, from `config.training.<stage>`."""
    steps = StepSettings.of(config, directory.stage)
    return TrainingContext(
        stage=directory.stage,
        run=directory.path,
        fingerprint=directory.fingerprint,
        config=plain(config),
        batch_size=steps.batch_size,
        clock=BudgetCallback(steps.budget),
        ema=steps.ema,
        guard=steps.gradients,
        draw=draw,
        measure=measure,
        place=place,
    )


def build_callbacks(config: DictConfig, context: TrainingContext) -> list[pl.Callback]:
    """The callbacks of `config.callbacks`; snapshots first, so that they are up to date before a checkpoint."""
    names = [name for name, block in config.callbacks.items() if block is not None]
    callbacks: list[pl.Callback] = [build(config, f"callbacks.{name}") for name in names]
    for callback in callbacks:
        if isinstance(callback, Watcher):
            callback.watch(context)
    return sorted(callbacks, key=lambda callback: not isinstance(callback, Snapshots))


def validation_batches(monitor: MonitorSettings, stage: str, data: ShardDataModule) -> int:
    """Number of held-out batches of a validation; 0 where nothing is held out."""
    if monitor.validation_batches and not data.has_heldout:
        log.info("%s: the data hold no split '%s': validation is left out", stage, data.heldout_split)
        return 0
    return monitor.validation_batches


def last_checkpoint(directory: StageDirectory) -> str:
    """Path of the newest readable checkpoint, empty if there is none; logs where the stage resumes."""
    last = find_last(directory.checkpoints, directory.fingerprint)
    if last is None:
        return ""
    log.info("%s: goes on at step %d from %s", directory.stage, last.step, last.path)
    return str(last.path)


def end_of_earlier(directory: StageDirectory) -> str:
    """Path of the last checkpoint of the finished run that this run continues, empty if it continues none."""
    last = find_last(directory.earlier / "checkpoints", directory.continued_from) if directory.earlier else None
    if last is None:
        return ""
    log.info("%s: continues at step %d from %s", directory.stage, last.step, last.path)
    return str(last.path)


def build_loggers(config: DictConfig, context: TrainingContext) -> list[Logger]:
    """The metrics table and the loggers of `logger`. UserError for a value that is no logger."""
    table = MetricsTable(context.run)
    if not config.get("logger"):
        return [table]
    logger = build(config, "logger")
    if isinstance(logger, LoggerChoice):
        logger = logger.begin(context)
    if not isinstance(logger, Logger):
        raise UserError(f"logger._target_ = {config.logger._target_} makes no logger of Lightning: name one that does")
    return [table, logger]


def seeded(config: DictConfig, key: str, **node: Any) -> Any:
    """Build a network with its first weights a function of `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config))
        return build(config, key, **node)


def seed_of(config: DictConfig) -> int:
    """The seed of a training's configuration or of a stored one. UserError for a value that is no seed."""
    return check_key(config, "seed", Seed)


def plain(config: Any) -> Any:
    """Resolved configuration as dicts, lists and plain values; UserError for a missing value."""
    return OmegaConf.to_container(config, resolve=True)
